package file_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/conduitio/funnel/connector/file"
)

// write writes a file below dir and returns its path.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// age makes a file an hour old. Whether a position says that the file is unchanged depends on
// its age, and a young file may grow old during a test.
func age(t testing.TB, path string) {
	t.Helper()
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(path, at, at))
}

// grow appends to a file.
func grow(t testing.TB, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(content))
	must(t, err)
	must(t, w.Close())
	return b.String()
}

func zstandard(t testing.TB, content string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must(t, err)
	return string(w.EncodeAll([]byte(content), nil))
}

func newSource(t testing.TB, path string, format file.Format, from opencdc.Position, opts ...file.SourceOption) *file.Source {
	t.Helper()
	s, err := file.NewSource(path, format, from, opts...)
	must(t, err)
	return s
}

// opened returns an open source, which is torn down at the end of the test.
func opened(t testing.TB, path string, format file.Format, from opencdc.Position, opts ...file.SourceOption) *file.Source {
	t.Helper()
	s := newSource(t, path, format, from, opts...)
	must(t, s.Open(context.Background()))
	t.Cleanup(func() { must(t, s.Teardown(context.Background())) })
	return s
}

// readAll reads a source to its end, or to an error.
func readAll(t testing.TB, s *file.Source) ([]opencdc.Record, error) {
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
func mustReadAll(t testing.TB, s *file.Source) []opencdc.Record {
	t.Helper()
	recs, err := readAll(t, s)
	must(t, err)
	return recs
}

// texts returns the payloads of records, with a mark on those that are damaged.
func texts(recs []opencdc.Record) []string {
	out := []string{}
	for _, rec := range recs {
		text := fmt.Sprint(rec.Payload.After)
		if raw, ok := rec.Payload.After.(opencdc.RawData); ok {
			text = string(raw)
		}
		if rec.Metadata[file.MetadataError] != "" {
			text = "!" + text
		}
		out = append(out, text)
	}
	return out
}
