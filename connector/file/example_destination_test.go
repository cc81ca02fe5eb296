package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
)

// order returns a record of an order.
func order(id int, table string) opencdc.Record {
	return opencdc.Record{
		Position: opencdc.Position(fmt.Sprint(id)),
		Payload:  opencdc.Change{After: opencdc.StructuredData{"id": id, "table": table}},
	}
}

// A destination appends each record as a line of JSON. It acks the records of a Write
// once they are on the disk.
func ExampleNewDestination() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "orders.jsonl")

	orders, err := file.NewDestination(path, file.JSONLines)
	if err != nil {
		panic(err)
	}
	source := funnel.SliceSource(order(1, "a"), order(2, "b"))
	if err := funnel.From("source", source).To("orders", orders).Run(context.Background()); err != nil {
		panic(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	fmt.Print(string(text))
	// Output:
	// {"id":1,"table":"a"}
	// {"id":2,"table":"b"}
}

// A path with placeholders gives each table a file of its own. Whatever a record says, its
// file is below the directory.
func ExampleNewDestination_namesFromRecords() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	tables, err := file.NewDestination(filepath.Join(dir, "{{table}}.csv"), file.CSV, file.WithColumns("id", "table"))
	if err != nil {
		panic(err)
	}
	source := funnel.SliceSource(order(1, "users"), order(2, "../users"), order(3, "users"))
	if err := funnel.From("source", source).To("tables", tables).Run(context.Background()); err != nil {
		panic(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s:\n%s", f.Name(), text)
	}
	// Output:
	// %2E.%2Fusers.csv:
	// id,table
	// 2,../users
	// users.csv:
	// id,table
	// 1,users
	// 3,users
}
