package position_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

// after returns a source of the numbers up to 10, after the one at the position.
func after(p opencdc.Position) (funnel.Source, error) {
	n := 0
	if p != nil {
		var err error
		if n, err = strconv.Atoi(string(p)); err != nil {
			return nil, err
		}
	}
	fmt.Println("the source begins after", n)
	return funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		if n == 10 {
			return nil, io.EOF
		}
		n++
		return []opencdc.Record{{Position: opencdc.Position(strconv.Itoa(n))}}, nil
	}), nil
}

func ExampleTrack() {
	dir, err := os.MkdirTemp("", "positions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := position.NewFiles(dir)
	if err != nil {
		fmt.Println(err)
		return
	}

	written, isOutage := 0, true
	table := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		if isOutage && string(records[0].Position) == "7" {
			return errors.New("connection lost")
		}
		written += len(records)
		return nil
	})
	for range 2 {
		source := position.Track("numbers", store, after)
		err := funnel.From("numbers", source).To("table", table).Run(context.Background())
		fmt.Println("written:", written, "error:", err)
		isOutage = false
	}

	// Output:
	// the source begins after 0
	// written: 6 error: task "table": failed to write 1 records, from "7" on: connection lost
	// the source begins after 6
	// written: 10 error: <nil>
}
