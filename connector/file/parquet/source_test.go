package parquet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	pq "github.com/parquet-go/parquet-go"

	"github.com/conduitio/funnel/connector/file/parquet"
)

func TestNewSource_invalid(t *testing.T) {
	for want, f := range map[string]func() (*parquet.Source, error){
		"the path is empty":         func() (*parquet.Source, error) { return parquet.NewSource("", nil) },
		"zero byte":                 func() (*parquet.Source, error) { return parquet.NewSource("a\x00", nil) },
		"syntax error":              func() (*parquet.Source, error) { return parquet.NewSource("a[", nil) },
		"**, which is not":          func() (*parquet.Source, error) { return parquet.NewSource("**/a", nil) },
		"option 1 is nil":           func() (*parquet.Source, error) { return parquet.NewSource("a", nil, parquet.WithStartAnew(), nil) },
		"at most 0 records":         func() (*parquet.Source, error) { return parquet.NewSource("a", nil, parquet.WithBatch(0, 1)) },
		"and 0 bytes":               func() (*parquet.Source, error) { return parquet.NewSource("a", nil, parquet.WithBatch(1, 0)) },
		"maximum number of files":   func() (*parquet.Source, error) { return parquet.NewSource("a", nil, parquet.WithMaxFiles(0)) },
		"not one of a source of Pa": func() (*parquet.Source, error) { return parquet.NewSource("a", opencdc.Position("x")) },
		"has version 9":             func() (*parquet.Source, error) { return parquet.NewSource("a", opencdc.Position("\xf1pq\x09")) },
		"is damaged":                func() (*parquet.Source, error) { return parquet.NewSource("a", opencdc.Position("\xf1pq\x01")) },
	} {
		if _, err := f(); err == nil || !strings.HasPrefix(err.Error(), "parquet source: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want one with %q", err, want)
		}
	}
}

// Records have the operation, metadata and position that they should have.
func TestSource_records(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a10.parquet", encoded(t, items(4, 4)))
	save(t, dir, "a2.parquet", encoded(t, items(1, 3), pq.MaxRowsPerRowGroup(2)))
	save(t, dir, "a3.parquet", encoded(t, items(1, 0)))
	recs := mustReadAll(t, opened(t, dir, nil))
	same(t, ids(recs), numbers(1, 4))
	for i, want := range []string{"a2.parquet 1", "a2.parquet 2", "a2.parquet 3", "a10.parquet 1"} {
		m := recs[i].Metadata
		same(t, filepath.Base(m[parquet.MetadataPath])+" "+m[parquet.MetadataRow], want)
		same(t, recs[i].Operation, opencdc.OperationCreate)
		if recs[i].Key != nil || recs[i].Payload.Before != nil || len(m) != 2 {
			t.Fatalf("got %v", recs[i])
		}
	}
	p, err := parquet.ParsePosition(recs[1].Position)
	must(t, err)
	same(t, p, fmt.Sprintf("{2 0 [{%s 2 3}]}", filepath.Join(dir, "a2.parquet")))
	p, err = parquet.ParsePosition(recs[3].Position)
	must(t, err)
	same(t, p, "{4 2 []}")
	for i := range recs[3].Position {
		damaged := append(opencdc.Position{}, recs[3].Position...)
		damaged[i] ^= 1
		if _, err := parquet.ParsePosition(damaged); err == nil {
			t.Fatalf("a position whose byte %d was damaged is accepted", i)
		}
		if _, err := parquet.ParsePosition(damaged[:i]); err == nil {
			t.Fatalf("a position of %d bytes is accepted", i)
		}
	}
}

// A path is a file, a directory, or a pattern.
func TestSource_paths(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "day=1"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "day=2", "deep.parquet"), 0o700))
	one := save(t, dir, "day=1/a.parquet", encoded(t, items(1, 1)))
	save(t, dir, "day=1/_SUCCESS", nil)
	save(t, dir, "day=1/.a.crc", nil)
	save(t, dir, "day=2/b.parquet", encoded(t, items(2, 2)))
	must(t, os.Symlink(one, filepath.Join(dir, "link.parquet")))
	for path, want := range map[string]string{
		"day=1/a.parquet": "[1]", "day=1": "[1]", "day=*/*": "[1 2]", "*/a*": "[1]", "link.parquet": "[1]", ".": "[1]",
		"x*": "[]", "x*/y": "[]",
	} {
		same(t, ids(mustReadAll(t, opened(t, filepath.Join(dir, path), nil))), want)
	}
	if err := newSource(t, filepath.Join(dir, "x"), nil).Open(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path without a file: %v", err)
	}
	if recs, err := readUntilError(t, filepath.Join(dir, "day=1", "_*")); err == nil || len(recs) > 0 {
		t.Errorf("a pattern with an underscore did not find the file with one")
	}
	s := newSource(t, filepath.Join(dir, "*", "*.parquet"), nil, parquet.WithMaxFiles(1))
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "there are 2 files") {
		t.Errorf("too many files: %v", err)
	}
}

// A batch is full after some records, or after some bytes.
func TestSource_batches(t *testing.T) {
	path := save(t, t.TempDir(), "a", encoded(t, items(1, 100)))
	s := opened(t, path, nil, parquet.WithBatch(7, 1<<20))
	recs, err := s.Read(t.Context())
	must(t, err)
	same(t, len(recs), 7)
	s = opened(t, path, nil, parquet.WithBatch(1000, 1000))
	recs, err = s.Read(t.Context())
	must(t, err)
	size := 0
	for i := range recs {
		if size >= 1000 {
			t.Fatalf("%d records in a batch of 1000 bytes, %d are enough", len(recs), i)
		}
		size += 8 + len(row(recs[i])["name"].(string)) + len(recs[i].Position)
	}
	if size < 1000 {
		t.Fatalf("only %d bytes in a batch of 1000", size)
	}
}

// Ack takes only a position that was read and not yet acked. When the source is opened again,
// it resumes there.
func TestSource_ack(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := save(t, dir, "a", encoded(t, items(1, 10)))
	all := mustReadAll(t, opened(t, path, nil))
	s := newSource(t, path, all[1].Position, parquet.WithBatch(3, 1<<20))
	must(t, s.Open(ctx))
	if err := s.Open(ctx); err == nil {
		t.Fatal("it was opened twice")
	}
	recs, err := s.Read(ctx)
	must(t, err)
	same(t, ids(recs), numbers(3, 5))
	for _, p := range []opencdc.Position{all[1].Position, all[0].Position, all[5].Position, opencdc.Position("x"), nil} {
		if err := s.Ack(ctx, []opencdc.Position{p}); err == nil {
			t.Fatalf("the position %q was acked", p)
		}
	}
	must(t, s.Ack(ctx, nil))
	must(t, s.Ack(ctx, []opencdc.Position{recs[0].Position, recs[1].Position}))
	same(t, s.Stats(), "{1 0 0 0 5 4 10 0}")
	must(t, s.Teardown(ctx))
	must(t, s.Ack(ctx, []opencdc.Position{recs[2].Position})) // late
	if _, err := s.Read(ctx); err == nil || err == io.EOF {
		t.Fatalf("after Teardown Read returns %v", err)
	}
	must(t, s.Open(ctx))
	recs, err = s.Read(ctx)
	must(t, err)
	same(t, ids(recs), numbers(6, 8))
	must(t, s.Teardown(ctx))
	must(t, s.Teardown(ctx))
}

// Once a context has ended, Read returns its error, and the next Read continues where the last
// one stopped.
func TestSource_contexts(t *testing.T) {
	path := save(t, t.TempDir(), "a", encoded(t, items(1, 100), pq.PageBufferSize(100)))
	s := opened(t, path, nil, parquet.WithBatch(10, 1<<20))
	var got []int64
	for i := range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("read %d returns %v", i, err)
		}
		recs, err := s.Read(t.Context())
		must(t, err)
		got = append(got, ids(recs)...)
	}
	same(t, got, numbers(1, 100))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newSource(t, path, nil).Open(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Open returns %v", err)
	}
}
