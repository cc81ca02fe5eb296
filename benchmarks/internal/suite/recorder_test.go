package suite_test

import (
	"context"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"

	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// recordedSource notes what was read and acked.
type recordedSource struct {
	funnel.Source
	read, acked []string
}

func (s *recordedSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	records, err := s.Source.Read(ctx)
	for _, record := range records {
		s.read = append(s.read, string(record.Position))
	}
	return records, err
}

func (s *recordedSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	for _, position := range positions {
		s.acked = append(s.acked, string(position))
	}
	return s.Source.Ack(ctx, positions)
}

// recordedDestination notes what was written, as it was then.
type recordedDestination struct {
	funnel.Destination
	written []opencdc.Record
}

func (d *recordedDestination) Write(ctx context.Context, records []opencdc.Record) error {
	d.written = slices.Concat(d.written, records)
	return d.Destination.Write(ctx, records)
}

// recorded is a pipeline that notes what it does.
type recorded struct {
	source       *recordedSource
	destinations []*recordedDestination
	dlq          *recordedDestination
}

// record makes a pipeline note what it does.
func record(p *pipeline.Pipeline) *recorded {
	r := &recorded{source: &recordedSource{Source: p.Source}}
	p.Source = r.source
	for i, d := range p.Destinations {
		r.destinations = append(r.destinations, &recordedDestination{Destination: d})
		p.Destinations[i] = r.destinations[i]
	}
	if p.DLQ != nil {
		r.dlq = &recordedDestination{Destination: p.DLQ}
		p.DLQ = r.dlq
	}
	return r
}
