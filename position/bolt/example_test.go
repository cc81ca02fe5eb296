package bolt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/position/bolt"
)

func Example() {
	dir, err := os.MkdirTemp("", "positions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := bolt.Open(filepath.Join(dir, "positions.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	open := func(p opencdc.Position) (funnel.Source, error) {
		fmt.Printf("the source begins after %q\n", string(p))
		return funnel.SliceSource(make([]opencdc.Record, 3)...), nil
	}
	table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	for range 2 {
		source := position.Track("orders", store, open)
		if err := funnel.From("orders", source).To("table", table).Run(context.Background()); err != nil {
			fmt.Println(err)
		}
	}

	// Output:
	// the source begins after ""
	// the source begins after "2"
}
