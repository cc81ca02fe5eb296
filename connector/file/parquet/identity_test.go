package parquet_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel/connector/file/parquet"
	"github.com/conduitio/funnel/log"
)

// firstRecords reads n records of the files at a path, one by one.
func firstRecords(t testing.TB, path string, from opencdc.Position, n int) (recs []opencdc.Record) {
	t.Helper()
	s := opened(t, path, from, parquet.WithBatch(1, 1))
	for range n {
		next, err := s.Read(t.Context())
		must(t, err)
		recs = append(recs, next...)
	}
	return recs
}

// A renamed file that was read in part continues at its row, before the others. A file that was
// read to its end is left out. So are copies of both.
func TestSource_renamed(t *testing.T) {
	dir := t.TempDir()
	a, b := encoded(t, items(1, 3)), encoded(t, items(4, 6))
	save(t, dir, "a", a)
	save(t, dir, "b", b)
	recs := firstRecords(t, dir, nil, 4)
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "x")))
	must(t, os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "y")))
	save(t, dir, "a", encoded(t, items(11, 13)))
	save(t, dir, "b", a)
	save(t, dir, "c", b)
	save(t, dir, "z", a)
	s := opened(t, dir, recs[3].Position)
	rest := mustReadAll(t, s)
	same(t, ids(rest), "[5 6 11 12 13]")
	same(t, filepath.Base(rest[0].Metadata[parquet.MetadataPath]), "y")
	same(t, s.Stats(), "{3 2 1 0 9 4 9 0}")
}

// plain returns a file whose footer does not depend on the values: it has no statistics.
func plain(t testing.TB, values []int64) []byte {
	type single struct {
		V int64 `parquet:"v,plain"`
	}
	var rows []single
	for _, v := range values {
		rows = append(rows, single{v})
	}
	return encoded(t, rows, pq.DataPageStatistics(false), pq.SkipPageBounds("v"), pq.PageBufferSize(1<<20))
}

// Files with the same footer and the same beginning are told apart by the bytes in between,
// and files with the same rows by their footers.
func TestSource_sameFooter(t *testing.T) {
	values := numbers(1, 20_000)
	first := withoutChecksums(t, plain(t, values))
	for i := 10_000; i < 20_000; i++ {
		values[i]++
	}
	second := withoutChecksums(t, plain(t, values))
	if len(first) != len(second) || !bytes.Equal(first[:1024], second[:1024]) || !bytes.Equal(first[len(first)-200:], second[len(second)-200:]) {
		t.Fatal("the files are not as alike as the test needs them")
	}
	dir := t.TempDir()
	save(t, dir, "a", first)
	save(t, dir, "b", second)
	save(t, dir, "c", withFooter(t, first, func(m *format.FileMetaData) { m.CreatedBy = "another writer" }))
	save(t, dir, "d", withFooter(t, first, func(m *format.FileMetaData) { m.CreatedBy = "another_writer" }))
	same(t, len(mustReadAll(t, opened(t, dir, nil))), 80_000)
}

// It is an error if another file has replaced a file that was read in part. With the option,
// the source reads the new file from its beginning.
func TestSource_replaced(t *testing.T) {
	dir := t.TempDir()
	path := save(t, dir, "a", encoded(t, items(1, 5)))
	recs := firstRecords(t, dir, nil, 2)
	from := recs[1].Position
	for name, content := range map[string][]byte{"another": encoded(t, items(6, 9)), "no Parquet": []byte("text, no Parquet")} {
		save(t, dir, "a", content)
		err := newSource(t, dir, from).Open(t.Context())
		want := fmt.Sprintf("file %q, row 3: the file was replaced after it was read in part", path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: got the error %v, want one with %q", name, err, want)
		}
	}
	// A known file in its place, finished or read in part, does not hold its rows, either.
	save(t, dir, "a", encoded(t, items(1, 5)))
	save(t, dir, "b", encoded(t, items(6, 9)))
	later := firstRecords(t, dir, from, 4)
	must(t, os.Rename(filepath.Join(dir, "b"), path))
	if err := newSource(t, dir, later[3].Position).Open(t.Context()); err != nil {
		t.Fatalf("a finished file was replaced by another one: %v", err)
	}
	for name, first := range map[string]int{"finished": 1, "read in part": 2} {
		dir := t.TempDir()
		save(t, dir, "a", encoded(t, items(1, first)))
		path := save(t, dir, "b", encoded(t, items(6, 9)))
		recs := firstRecords(t, dir, nil, 1)
		from := recs[0].Position
		if first == 2 {
			must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, ".a")))
		}
		from = firstRecords(t, dir, from, 1)[0].Position
		if first == 2 {
			must(t, os.Rename(filepath.Join(dir, ".a"), filepath.Join(dir, "a")))
		}
		must(t, os.Rename(filepath.Join(dir, "a"), path))
		err := newSource(t, dir, from).Open(t.Context())
		want := fmt.Sprintf("file %q, row 2: the file was replaced after it was read in part", path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: got the error %v, want one with %q", name, err, want)
		}
		s := opened(t, dir, from, parquet.WithStartAnew())
		same(t, len(mustReadAll(t, s)), first-1)
		same(t, s.Stats().RowsVanished, 3)
	}
	save(t, dir, "a", encoded(t, items(6, 9)))
	for _, place := range []string{dir, path} {
		s := opened(t, place, from, parquet.WithStartAnew())
		recs = mustReadAll(t, s)
		same(t, ids(recs), numbers(6, 9))
		same(t, s.Stats(), "{1 1 0 1 6 2 6 3}")
	}
	// The first one comes back.
	save(t, dir, "b", encoded(t, items(1, 5)))
	same(t, ids(mustReadAll(t, opened(t, dir, recs[0].Position))), "[7 8 9 3 4 5]")
}

// A file that vanishes is counted and logged once, and continues at its row if it comes back.
func TestSource_vanished(t *testing.T) {
	dir := t.TempDir()
	path := save(t, dir, "a", encoded(t, items(1, 5)))
	save(t, dir, "b", encoded(t, items(6, 9)))
	save(t, dir, "c", encoded(t, items(10, 12)))
	recs := firstRecords(t, dir, nil, 2)
	must(t, os.Remove(path))
	var logs bytes.Buffer
	logger := log.New(zerolog.New(&logs))
	s := opened(t, dir, recs[1].Position, parquet.WithLogger(logger), parquet.WithBatch(2, 1<<20))
	recs, err := s.Read(t.Context())
	must(t, err)
	same(t, ids(recs), "[6 7]")
	must(t, os.Remove(filepath.Join(dir, "c"))) // before it is opened
	all := append(recs, mustReadAll(t, s)...)
	same(t, ids(all), numbers(6, 9))
	same(t, s.Stats(), "{2 1 0 2 6 2 6 6}")
	want := fmt.Sprintf(`"path":%q,"row":2,"rows":5`, path)
	if n := strings.Count(logs.String(), "vanished before"); n != 2 || !strings.Contains(logs.String(), want) {
		t.Fatalf("%d lines were logged: %s", n, logs.String())
	}

	logs.Reset()
	last := all[len(all)-1].Position
	s = opened(t, dir, last, parquet.WithLogger(logger))
	same(t, len(mustReadAll(t, s)), 0)
	same(t, logs.String(), "")
	progress, err := parquet.ParsePosition(last)
	must(t, err)
	same(t, progress, "{6 1 [{ 2 5}]}")
	save(t, dir, "z", encoded(t, items(1, 5)))
	same(t, ids(mustReadAll(t, opened(t, dir, last))), numbers(3, 5))
}

// Positions stay small: finished files that are gone are forgotten, except for the last 1,000.
func TestSource_forgets(t *testing.T) {
	dir := t.TempDir()
	for i := range 1010 {
		save(t, dir, fmt.Sprintf("f%d", i), encoded(t, items(i, i)))
	}
	recs := mustReadAll(t, opened(t, dir, nil, parquet.WithBatch(100, 1<<30)))
	same(t, ids(recs), numbers(0, 1009))
	last := recs[1009].Position
	if most := 1010*27 + 1000; len(last) > most {
		t.Fatalf("the position has %d bytes, more than %d", len(last), most)
	}
	for i := 5; i < 1010; i++ {
		must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("f%d", i))))
	}
	save(t, dir, "g", encoded(t, items(2000, 2000)))
	recs = mustReadAll(t, opened(t, dir, last))
	same(t, ids(recs), "[2000]")
	progress, err := parquet.ParsePosition(recs[0].Position)
	must(t, err)
	same(t, progress.Finished, 1006)
	for i := range 1010 {
		save(t, dir, fmt.Sprintf("f%d", i), encoded(t, items(i, i)))
	}
	same(t, ids(mustReadAll(t, opened(t, dir, recs[0].Position))), numbers(5, 9))
}
