package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

// archive appends the orders in a directory to a file. Run it again when there are more: it
// goes on where it was.
func archive(ctx context.Context, in, out string) error {
	store, err := position.NewFiles(filepath.Join(out, "positions"))
	if err != nil {
		return err
	}
	orders := position.Track("orders", store, func(from opencdc.Position) (funnel.Source, error) {
		return file.NewSource(in, file.JSONLines, from)
	})
	archived, err := file.NewDestination(filepath.Join(out, "orders.jsonl"), file.JSONLines)
	if err != nil {
		return err
	}
	refused, err := file.NewDestination(filepath.Join(out, "refused.jsonl"), file.Records)
	if err != nil {
		return err
	}
	return funnel.From("orders", orders).
		Through("check", funnel.Map(check)).
		To("archive", archived).
		DeadLetters("refused", refused, 1000, 50).
		Run(ctx)
}

// check refuses lines that could not be parsed.
func check(r opencdc.Record) (opencdc.Record, error) {
	if reason := r.Metadata[file.MetadataError]; reason != "" {
		return r, errors.New(reason)
	}
	return r, nil
}

// A pipeline that goes on where it was: the second run reads only what is new.
func Example_durable() {
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.Mkdir(in, 0o755); err != nil {
		fmt.Println(err)
		return
	}
	for day, orders := range []string{
		"{\"id\": 1}\n{\"id\": 2}\nnot JSON\n",
		"{\"id\": 3}\n",
	} {
		name := filepath.Join(in, fmt.Sprintf("day-%d.jsonl", day+1))
		if err := os.WriteFile(name, []byte(orders), 0o644); err != nil {
			fmt.Println(err)
			return
		}
		if err := archive(context.Background(), in, out); err != nil {
			fmt.Println(err)
			return
		}
		archived, err := os.ReadFile(filepath.Join(out, "orders.jsonl"))
		fmt.Printf("after day %d: %q %v\n", day+1, archived, err)
	}
	// Output:
	// after day 1: "{\"id\":1}\n{\"id\":2}\n" <nil>
	// after day 2: "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n" <nil>
}
