package position_test

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

func ExampleWithCoalescing() {
	store := position.NewMemory()
	open := func(p opencdc.Position) (funnel.Source, error) {
		return funnel.SliceSource(make([]opencdc.Record, 5_000)...), nil
	}
	// A save for each 1,000 records, and at least one a second while records come.
	source := position.Track("numbers", store, open, position.WithCoalescing(1_000, time.Second))
	table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	err := funnel.From("numbers", source).To("table", table).Run(context.Background())

	claim, errClaim := store.Claim(context.Background(), "numbers")
	if errClaim != nil {
		fmt.Println(errClaim)
		return
	}
	saved, errLoad := claim.Load(context.Background())
	fmt.Printf("saved: %s errors: %v %v\n", saved, err, errLoad)

	// Output: saved: 4999 errors: <nil> <nil>
}
