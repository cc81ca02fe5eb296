package parquet_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	pq "github.com/parquet-go/parquet-go"

	"github.com/conduitio/funnel/connector/file/parquet"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// save writes a file below dir and returns its path.
func save(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

// encoded returns a file of rows.
func encoded[T any](t testing.TB, rows []T, opts ...pq.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pq.NewGenericWriter[T](&b, opts...)
	_, err := w.Write(rows)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

// item is a row of most tests.
type item struct {
	ID   int64  `parquet:"id"`
	Name string `parquet:"name"`
}

// items returns rows with the IDs from first to last.
func items(first, last int) (rows []item) {
	for i := first; i <= last; i++ {
		rows = append(rows, item{int64(i), fmt.Sprintf("item %d", i)})
	}
	return rows
}

func newSource(t testing.TB, path string, from opencdc.Position, opts ...parquet.Option) *parquet.Source {
	t.Helper()
	s, err := parquet.NewSource(path, from, opts...)
	must(t, err)
	return s
}

// opened returns an open source, which is torn down at the end of the test.
func opened(t testing.TB, path string, from opencdc.Position, opts ...parquet.Option) *parquet.Source {
	t.Helper()
	s := newSource(t, path, from, opts...)
	must(t, s.Open(context.Background()))
	t.Cleanup(func() { must(t, s.Teardown(context.Background())) })
	return s
}

// readAll reads a source to its end, or to an error.
func readAll(t testing.TB, s *parquet.Source) ([]opencdc.Record, error) {
	t.Helper()
	var all []opencdc.Record
	for {
		recs, err := s.Read(context.Background())
		all = append(all, recs...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// mustReadAll reads a source to its end.
func mustReadAll(t testing.TB, s *parquet.Source) []opencdc.Record {
	t.Helper()
	recs, err := readAll(t, s)
	must(t, err)
	return recs
}

// row returns the row of a record.
func row(rec opencdc.Record) map[string]any { return rec.Payload.After.(opencdc.StructuredData) }

// ids returns the IDs of items.
func ids(recs []opencdc.Record) []int64 {
	out := []int64{}
	for _, rec := range recs {
		out = append(out, row(rec)["id"].(int64))
	}
	return out
}

// numbers returns the numbers from first to last.
func numbers(first, last int64) []int64 {
	out := []int64{}
	for i := first; i <= last; i++ {
		out = append(out, i)
	}
	return out
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("got %s, want %s", g, w)
	}
}

// writeAgain writes a file in place.
func writeAgain(path string, content []byte) error { return os.WriteFile(path, content, 0o600) }
