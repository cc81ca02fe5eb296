package funnel_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// sensor is a source that returns one value per read.
type sensor struct {
	funnel.Source
	values []string
}

func (s *sensor) Read(context.Context) ([]opencdc.Record, error) {
	if len(s.values) == 0 {
		return nil, io.EOF
	}
	value := s.values[0]
	s.values = s.values[1:]
	return []opencdc.Record{{Position: opencdc.Position(value)}}, nil
}

func (s *sensor) Teardown(context.Context) error { return nil }

// Single records become batches of three.
func ExampleNewBatchingSource() {
	ctx := context.Background()
	source := funnel.NewBatchingSource(
		&sensor{values: []string{"a", "b", "c", "d", "e"}},
		funnel.BatchPolicy{Records: 3, Period: time.Minute},
	)
	for {
		recs, err := source.Read(ctx)
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Print("batch")
		for _, rec := range recs {
			fmt.Printf(" %s", rec.Position)
		}
		fmt.Println()
	}
	if err := source.Teardown(ctx); err != nil {
		panic(err)
	}
	// Output:
	// batch a b c
	// batch d e
	// EOF
}
