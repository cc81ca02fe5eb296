package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// A source resumes from the position of a record, even if its file was renamed meanwhile.
func ExampleSource() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "orders.jsonl")
	content := `{"id":9007199254740993}` + "\n" + `{"id":` + "\n" + `{"id":3}` + "\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		panic(err)
	}

	read := func(from opencdc.Position) (last opencdc.Position) {
		source, err := file.NewSource(dir, file.JSONLines, from)
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
			_, isDamaged := rec.Metadata[file.MetadataError]
			fmt.Printf("line %s, damaged %t: %s\n", rec.Metadata[file.MetadataLine], isDamaged, rec.Payload.After.Bytes())
		}
		if err := source.Teardown(ctx); err != nil {
			panic(err)
		}
		return records[len(records)-1].Position
	}

	last := read(nil)
	if err := os.Rename(path, filepath.Join(dir, "orders.1.jsonl")); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, []byte(`{"id":4}`), 0o600); err != nil {
		panic(err)
	}
	read(last)
	// Output:
	// line 1, damaged false: {"id":9007199254740993}
	// line 2, damaged true: {"id":
	// line 3, damaged false: {"id":3}
	// line 1, damaged false: {"id":4}
}
