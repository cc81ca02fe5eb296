package file

// SourceStats says what a [Source] has done since it was opened. Bytes are counted after
// decompression.
type SourceStats struct {
	// Files is the number of files that were found to be read, in whole or in part.
	Files int
	// FilesFinished is how many of them were read to their end.
	FilesFinished int
	// FilesCopied is the number of files that were left out while others were read, since
	// they hold the bytes of one of these.
	FilesCopied int
	// Records is the number of records that were read.
	Records uint64
	// RecordsDamaged is how many of them could not be parsed. They hold raw data, and the
	// reason in their metadata.
	RecordsDamaged int
	// BytesRead is the number of bytes that were read. It goes on where the position that
	// the source was given left off, as BytesAcked does.
	BytesRead int64
	// BytesAcked is the number of bytes up to the last acked record.
	BytesAcked int64
	// BytesKnown is BytesRead and the bytes that are known to follow. A compressed file
	// counts with its compressed size until it is read.
	BytesKnown int64
	// BytesVanished is the number of bytes that were there and vanished before they were
	// read.
	BytesVanished int64
}

// Stats returns what the source has done. It may be called at any time by any goroutine.
// The figures are those of the last Read that has returned or begun to wait.
func (s *Source) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// publish updates the figures. record is the number of the last record.
func (s *Source) publish(stats SourceStats, record uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.BytesAcked = s.stats.BytesAcked
	s.stats = stats
	s.read = record
}
