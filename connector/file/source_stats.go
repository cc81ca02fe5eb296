package file

// SourceStats says what a [Source] has done since it was opened. Bytes are counted after
// decompression.
type SourceStats struct {
	// Files is the number of files that were found to need reading, in whole or in part.
	Files int
	// FilesFinished is the number of these files that were read to their end.
	FilesFinished int
	// FilesCopied is the number of files that were left out because another file holds the same
	// bytes, and was being read, or was read to its end since Open.
	FilesCopied int
	// Records is the number of records that were read.
	Records uint64
	// RecordsDamaged is the number of these records that could not be parsed. They hold raw
	// data, and the reason in their metadata.
	RecordsDamaged int
	// BytesRead is the number of bytes that were read. Like BytesAcked, it continues from the
	// position that the source was given.
	BytesRead int64
	// BytesAcked is the number of bytes up to the last acked record.
	BytesAcked int64
	// BytesKnown is BytesRead plus the bytes that are known to follow. A compressed file
	// counts with its compressed size until it is read.
	BytesKnown int64
	// BytesVanished is the number of bytes that vanished before they were read.
	BytesVanished int64
}

// Stats returns what the source has done, as of the last Read that has returned or begun to
// wait. Any goroutine may call it at any time.
func (s *Source) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// publish updates the figures. record is the number of the last record, and isIdle says that
// all that could be read was.
func (s *Source) publish(stats SourceStats, record uint64, isIdle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.BytesAcked = s.stats.BytesAcked
	s.stats = stats
	s.progress.Read(record)
	s.lag.isIdle = isIdle
	s.updateLag()
}
