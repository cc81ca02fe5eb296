package parquet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file/parquet"
)

// rowCount is the number of rows of the files that alike returns.
const rowCount = 4000

// alike returns two files that differ in only one value, outside of the samples.
func alike(t testing.TB) (export, correction []byte) {
	export = withoutChecksums(t, plain(t, numbers(1, rowCount)))
	correction = bytes.Clone(export)
	damage(correction, 10_000, 10_000)
	if bytes.Equal(export, correction) {
		t.Fatal("nothing was corrected")
	}
	return export, correction
}

// corrected returns how many records have a value that only the correction has.
func corrected(recs []opencdc.Record) (n int) {
	for i, rec := range recs {
		if row(rec)["v"] != int64(i%rowCount+1) {
			n++
		}
	}
	return n
}

// age sets the modification time of a file to some time ago.
func age(t testing.TB, path string, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by).Truncate(time.Second)
	must(t, os.Chtimes(path, at, at))
}

// A corrected export is not a copy of the export: not if both exist at once, not if one follows
// the other, and not under the name of the export.
func TestSource_correction(t *testing.T) {
	export, correction := alike(t)
	dir := t.TempDir()
	save(t, dir, "a", export)
	save(t, dir, "b", correction)
	s := opened(t, dir, nil)
	recs := mustReadAll(t, s)
	same(t, []int{len(recs), corrected(recs), s.Stats().FilesFinished, s.Stats().FilesCopied}, "[8000 1 2 0]")
	same(t, len(mustReadAll(t, opened(t, dir, recs[len(recs)-1].Position))), 0)

	for _, name := range []string{"a", "b"} {
		dir := t.TempDir()
		save(t, dir, "a", export)
		first := mustReadAll(t, opened(t, dir, nil))
		save(t, dir, name, correction)
		second := mustReadAll(t, opened(t, dir, first[rowCount-1].Position))
		same(t, []int{len(second), corrected(second)}, "[4000 1]")
		same(t, len(mustReadAll(t, opened(t, dir, second[rowCount-1].Position))), 0)
	}
}

// A file with the bytes of a finished one is not read, whether it is found in the same run or
// after a restart, whatever its name and modification time are. It is remembered as long as it
// exists, but not twice.
func TestSource_copies(t *testing.T) {
	export, _ := alike(t)
	dir := t.TempDir()
	a := save(t, dir, "a", export)
	save(t, dir, "b", export)
	save(t, dir, "c", encoded(t, items(100, 100)))
	s := opened(t, dir, nil)
	recs := mustReadAll(t, s)
	same(t, len(recs), rowCount+1)
	same(t, s.Stats(), "{3 2 1 0 4001 0 4001 0}")
	last := recs[rowCount].Position
	for i, f := range []func(){
		func() {},
		func() { age(t, a, time.Hour) },
		func() { must(t, os.Rename(a, filepath.Join(dir, "x"))) },
		func() { save(t, dir, "y", export) },
		func() { must(t, os.Remove(filepath.Join(dir, "b"))) },
		func() { must(t, os.Remove(filepath.Join(dir, "x"))) },
		func() { must(t, os.Remove(filepath.Join(dir, "y"))) },
		func() { save(t, dir, "z", export) },
	} {
		f()
		save(t, dir, fmt.Sprintf("d%d", i), encoded(t, items(i, i))) // so that there is a position
		recs = mustReadAll(t, opened(t, dir, last))
		same(t, ids(recs), []int{i})
		last = recs[0].Position
		p, err := parquet.ParsePosition(last)
		must(t, err)
		same(t, p.Finished, i+2+[]int{2, 2, 2, 3, 2, 1, 1, 1}[i]) // c, the d files, and the copies
	}
}

// A file that looks unchanged without being read is not read. Its modification time counts
// only if it is some time ago.
func TestSource_unchanged(t *testing.T) {
	export, correction := alike(t)
	for by, want := range map[time.Duration]int{time.Hour: 0, -time.Hour: rowCount} {
		path := save(t, t.TempDir(), "a", export)
		age(t, path, by)
		info, err := os.Stat(path)
		must(t, err)
		recs := mustReadAll(t, opened(t, path, nil))
		must(t, writeAgain(path, correction))
		must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		same(t, len(mustReadAll(t, opened(t, path, recs[rowCount-1].Position))), want)
	}
	// Another file with the same name, size and time is read, and so is one with another name.
	path := save(t, t.TempDir(), "a", export)
	age(t, path, time.Hour)
	info, err := os.Stat(path)
	must(t, err)
	recs := mustReadAll(t, opened(t, path, nil))
	other := save(t, t.TempDir(), "a", correction)
	must(t, os.Chtimes(other, info.ModTime(), info.ModTime()))
	must(t, os.Rename(path, path+"b"))
	must(t, writeAgain(path+"b", correction))
	must(t, os.Chtimes(path+"b", info.ModTime(), info.ModTime()))
	same(t, len(mustReadAll(t, opened(t, path+"b", recs[rowCount-1].Position))), rowCount)
	must(t, os.Rename(other, path))
	same(t, len(mustReadAll(t, opened(t, path, recs[rowCount-1].Position))), rowCount)
	// A copy that is already known is not read, either.
	dir := t.TempDir()
	age(t, save(t, dir, "a", export), time.Hour)
	path = save(t, dir, "b", export)
	age(t, path, time.Hour)
	save(t, dir, "c", encoded(t, items(1, 1)))
	recs = mustReadAll(t, opened(t, dir, nil))
	info, err = os.Stat(path)
	must(t, err)
	must(t, writeAgain(path, correction))
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	same(t, len(mustReadAll(t, opened(t, dir, recs[rowCount].Position))), 0)
}

// A file that changes before its checksum is made is an error that names it: the checksum would
// belong to other rows than the source has read.
func TestSource_changes(t *testing.T) {
	export, correction := alike(t)
	path := save(t, t.TempDir(), "a", export)
	age(t, path, time.Hour)
	s := opened(t, path, nil, parquet.WithBatch(rowCount/2, 1<<30))
	_, err := s.Read(t.Context())
	must(t, err)
	must(t, writeAgain(path, correction))
	recs, err := readAll(t, s)
	want := fmt.Sprintf("parquet source: file %q, row %d: the file changed while it was read", path, rowCount)
	if len(recs) != rowCount/2-1 || err == nil || err.Error() != want {
		t.Fatalf("got %d records and the error %v, want %s", len(recs), err, want)
	}
	// The same before a file that was read in part is opened.
	must(t, writeAgain(path, export))
	from := firstRecords(t, path, nil, 3)[2].Position
	s = opened(t, path, from)
	must(t, os.Rename(save(t, t.TempDir(), "a", correction), path))
	recs, err = readAll(t, s)
	want = fmt.Sprintf("parquet source: file %q, row 4: the file changed while it was read", path)
	if len(recs) > 0 || err == nil || err.Error() != want {
		t.Fatalf("got %d records and the error %v, want %s", len(recs), err, want)
	}
}

// A file that was read in part continues itself. A file that looks like it does not continue
// instead, even under its name.
func TestSource_resumesItself(t *testing.T) {
	export, correction := alike(t)
	for _, isRenamed := range []bool{false, true} {
		dir := t.TempDir()
		path := save(t, dir, "b", export)
		from := firstRecords(t, dir, nil, 3)[2].Position
		itself := "b"
		if isRenamed {
			itself = "c"
			must(t, os.Rename(path, filepath.Join(dir, itself)))
			save(t, dir, "b", correction)
		}
		save(t, dir, "a", correction)
		recs := mustReadAll(t, opened(t, dir, from))
		rest := recs[:rowCount-3]
		for i, rec := range rest {
			same(t, row(rec)["v"], i+4)
			same(t, filepath.Base(rec.Metadata[parquet.MetadataPath]), itself)
		}
		same(t, []int{len(recs), corrected(recs[rowCount-3:])}, []int{2*rowCount - 3, 1})
	}
}

// Two files that look the same and were both read in part do not continue in the same file.
func TestSource_resumesOnce(t *testing.T) {
	export, correction := alike(t)
	dir := t.TempDir()
	a := save(t, dir, "a", export)
	from := firstRecords(t, dir, nil, 3)[2].Position
	b := save(t, dir, "b", correction)
	s := opened(t, dir, from, parquet.WithBatch(2, 1<<20))
	must(t, os.Remove(a))
	recs, err := s.Read(t.Context())
	must(t, err)
	p, err := parquet.ParsePosition(recs[1].Position)
	must(t, err)
	same(t, p.Files, fmt.Sprintf("[{%s 2 4000} { 3 4000}]", b))
	age(t, b, time.Hour)
	recs = append(recs, mustReadAll(t, opened(t, dir, recs[1].Position))...)
	same(t, []int{len(recs), corrected(recs)}, "[4000 1]")
}

// If it is uncertain in which file to continue, that is an error or, with the option, all are
// read from their first rows. Copies are never uncertain.
func TestSource_ambiguous(t *testing.T) {
	export, correction := alike(t)
	dir := t.TempDir()
	path := save(t, dir, "b", export)
	age(t, path, time.Hour)
	from := firstRecords(t, dir, nil, 3)[2].Position
	age(t, path, time.Minute)
	save(t, dir, "a", export)
	save(t, dir, "c", export)
	recs := mustReadAll(t, opened(t, dir, from))
	same(t, len(recs), rowCount-3)
	same(t, filepath.Base(recs[0].Metadata[parquet.MetadataPath]), "b")

	must(t, os.Remove(filepath.Join(dir, "a")))
	save(t, dir, "c", correction)
	err := newSource(t, dir, from).Open(t.Context())
	want := fmt.Sprintf("parquet source: it is not certain which file was read in part up to row 3: %q and %q look like it, but differ; ", path, filepath.Join(dir, "c"))
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got the error %v, want %s", err, want)
	}
	s := opened(t, dir, from, parquet.WithStartAnew(), parquet.WithBatch(10, 1<<20))
	recs, err = s.Read(t.Context())
	must(t, err)
	recs = append(recs, mustReadAll(t, opened(t, dir, recs[9].Position))...) // nor does it continue later
	same(t, []int{len(recs), corrected(recs)}, "[8000 1]")
}

// endless returns a file with one row whose checksum takes minutes.
func endless(t testing.TB) (path string) {
	content := encoded(t, items(1, 1))
	footer := content[len(content)-footerSize(content):]
	path = save(t, t.TempDir(), "a", content)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	if _, err := f.WriteAt(footer, 1<<40); err != nil {
		t.Skip("there are no files with holes: ", err)
	}
	must(t, f.Close())
	return path
}

// The end of a context interrupts a checksum, and so does Teardown.
func TestSource_endsChecksum(t *testing.T) {
	s := opened(t, endless(t), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got the error %v", err)
	}
	torn := make(chan error)
	time.AfterFunc(50*time.Millisecond, func() { torn <- s.Teardown(context.Background()) })
	if _, err := s.Read(t.Context()); err == nil || err.Error() != "the parquet source was torn down" {
		t.Fatalf("got the error %v", err)
	}
	must(t, <-torn)
}
