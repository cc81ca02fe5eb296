package parquet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	pq "github.com/parquet-go/parquet-go"

	"github.com/conduitio/funnel/connector/file/parquet"
)

// A source resumes from the position of a record, even if its file was renamed meanwhile.
func ExampleSource() {
	type order struct {
		ID    int64     `parquet:"id"`
		At    time.Time `parquet:"at,timestamp"`
		Price int64     `parquet:"price,decimal(2:18)"`
		Tags  []string  `parquet:"tags,list"`
		Note  *string   `parquet:"note"`
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "orders.parquet")
	noon := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	err = pq.WriteFile(path, []order{
		{ID: 1, At: noon, Price: 1999, Tags: []string{"new", "gift"}},
		{ID: 2, At: noon, Price: 5},
		{ID: 3, At: noon, Price: 100},
	})
	if err != nil {
		panic(err)
	}

	read := func(from opencdc.Position) (last opencdc.Position) {
		source, err := parquet.NewSource(dir, from, parquet.WithBatch(2, 1<<20))
		if err != nil {
			panic(err)
		}
		if err := source.Open(ctx); err != nil {
			panic(err)
		}
		records, err := source.Read(ctx)
		if err != nil {
			panic(err)
		}
		for _, rec := range records {
			fmt.Printf("row %s: %s\n", rec.Metadata[parquet.MetadataRow], rec.Payload.After.Bytes())
		}
		if err := source.Teardown(ctx); err != nil {
			panic(err)
		}
		return records[len(records)-1].Position
	}

	last := read(nil)
	if err := os.Rename(path, filepath.Join(dir, "done.parquet")); err != nil {
		panic(err)
	}
	read(last)
	// Output:
	// row 1: {"at":"2024-02-29T12:00:00Z","id":1,"note":null,"price":19.99,"tags":["new","gift"]}
	// row 2: {"at":"2024-02-29T12:00:00Z","id":2,"note":null,"price":0.05,"tags":[]}
	// row 3: {"at":"2024-02-29T12:00:00Z","id":3,"note":null,"price":1.00,"tags":[]}
}
