package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
)

// summary is the result of a run. Its figures are counted independently, so sums that agree prove something.
type summary struct {
	funnel.NopObserver
	dir                     string
	onAck                   func(done, size int64)
	source                  *file.Source
	from                    opencdc.Position
	strikes, costs, refused int            // how many records were written
	reasons                 map[string]int // how many reports were refused, by reason
	added                   int            // how many records were added by splitting
	stats                   funnel.Stats
}

// RecordsAcked is called after the source has acked records.
func (s *summary) RecordsAcked(context.Context, funnel.RecordsAcked) {
	stats := s.source.Stats()
	s.onAck(stats.BytesAcked, stats.BytesKnown)
}

// counter counts the records that a destination has written and, for dead letters, their reasons.
type counter struct {
	funnel.Destination
	written *int
	reasons map[string]int
}

// count returns a destination that adds to n what d has written.
func (s *summary) count(n *int, d funnel.Destination) counter { return counter{d, n, s.reasons} }

func (c counter) Write(ctx context.Context, recs []opencdc.Record) error {
	if err := c.Destination.Write(ctx, recs); err != nil {
		return err
	}
	*c.written += len(recs)
	for _, rec := range recs {
		if reason := rec.Metadata[opencdc.MetadataConduitDLQNackError]; reason != "" {
			c.reasons[reason]++
		}
	}
	return nil
}

func (s *summary) String() string {
	path := func(name string) string { return filepath.Join(s.dir, name) }
	text := ""
	if before, err := file.ParsePosition(s.from); err == nil {
		text = fmt.Sprintf("Went on after the %d reports of earlier runs.\n", before.Records)
	}
	text += fmt.Sprintf("%6d reports read\n%6d refused, in %s\n", s.stats.Acked, s.refused, path("refused.jsonl"))
	byCount := func(x, y string) int { return cmp.Or(s.reasons[y]-s.reasons[x], cmp.Compare(x, y)) }
	for _, reason := range slices.SortedFunc(maps.Keys(s.reasons), byCount) {
		text += fmt.Sprintf("%13d %s\n", s.reasons[reason], reason)
	}
	text += fmt.Sprintf("%6d strikes, in %s = %d read - %d refused\n", s.strikes, path("strikes.csv"), s.stats.Acked, s.refused)
	text += fmt.Sprintf("%6d costs, in %s = %d strikes - %d filtered, without costs + %d more by splitting\n",
		s.costs, path("costs.jsonl"), s.strikes, s.stats.Filtered, s.added)
	switch stats := s.source.Stats(); {
	case stats.FilesFinished < stats.Files || s.stats.Acked < stats.Records:
		text += "Stopped before the end. Run it again to go on.\n"
	case s.stats.Acked == 0:
		text += fmt.Sprintf("There is nothing new. To begin anew, remove %s.\n", s.dir)
	}
	return text
}
