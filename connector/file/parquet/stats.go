package parquet

// SourceStats says what a [Source] has done since it was opened.
type SourceStats struct {
	// Files is the number of files that Open has found and that were still to be read, in
	// whole or in part.
	Files int
	// FilesFinished is how many of them were read to their end.
	FilesFinished int
	// FilesCopied is how many of them were left out, since they are copies of files that were
	// finished after Open.
	FilesCopied int
	// FilesVanished is the number of files that vanished before they were read to their
	// end.
	FilesVanished int
	// RowsRead is the number of rows that were read, and RowsAcked the number of rows up to
	// the last acked record. Both count on from the position that the source was given.
	RowsRead, RowsAcked uint64
	// RowsKnown is RowsRead and the number of rows that are known to follow. The rows of a
	// damaged file are not known.
	RowsKnown uint64
	// RowsVanished is the number of rows that vanished before they were read.
	RowsVanished uint64
}

// Stats returns what the source has done. Any goroutine may call it at any time. Except for
// RowsAcked, the figures are those at the end of the last Open or Read.
func (s *Source) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// publish makes the figures of the session known.
func (s *Source) publish(stats SourceStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.RowsAcked = s.stats.RowsAcked
	s.stats = stats
	s.progress.Read(stats.RowsRead)
}
