package parquet

// SourceStats says what a [Source] has done since it was opened.
type SourceStats struct {
	// Files is the number of files that were found to be read, in whole or in part.
	Files int
	// FilesFinished is how many of them were read to their end.
	FilesFinished int
	// FilesCopied is the number of files that were left out while others were read, since
	// they are copies of one of these.
	FilesCopied int
	// FilesVanished is the number of files that vanished before they were read to their
	// end.
	FilesVanished int
	// RowsRead is the number of rows that were read. It goes on where the position that the
	// source was given left off, as RowsAcked does.
	RowsRead uint64
	// RowsAcked is the number of rows up to the last acked record.
	RowsAcked uint64
	// RowsKnown is RowsRead and the rows that are known to follow. The rows of a damaged
	// file are not known.
	RowsKnown uint64
	// RowsVanished is the number of rows that vanished before they were read.
	RowsVanished uint64
}

// Stats returns what the source has done. It may be called at any time by any goroutine.
// The figures are those of the last Read that has returned.
func (s *Source) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// publish updates the figures.
func (s *Source) publish(stats SourceStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.RowsAcked = s.stats.RowsAcked
	s.stats = stats
	s.progress.Read(stats.RowsRead)
}
