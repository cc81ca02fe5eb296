package file_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// banner is a first line that files have in common, longer than a fingerprint.
var banner = strings.Repeat("=", 1100)

// replaceIn replaces the content of a file, which stays the same file.
func replaceIn(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.Truncate(path, 0))
	grow(t, path, content)
}

// A file that was truncated and has grown beyond the offset again is not continued, although
// it begins as before: not after a restart, and not after its turn was short.
func TestFollow_regrown(t *testing.T) {
	t.Run("restart", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			path := write(t, dir, "log", banner+"\n1\n2\n")
			f := follow(t, dir+"/log*", file.Lines, nil)
			recs := f.want(banner, "1", "2")
			f.close()
			f = follow(t, dir+"/log*", file.Lines, recs[2].Position)
			defer f.close()
			copyTruncate(t, path, filepath.Join(dir, "log.1"))
			grow(t, path, banner+"\n3\n4\n5\n")
			f.want(banner, "3", "4", "5")
		})
	})
	t.Run("turns", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			a := write(t, dir, "a", banner+"\n1\n")
			b := write(t, dir, "b", "b\n"+banner+"\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want(banner, "1", "b", banner)
			grow(t, a, "same\n")
			grow(t, b, "same\n")
			f.want("same", "same")
			replaceIn(t, a, banner+"\n2\nsame\n3\n")
			f.want(banner, "2", "same", "3")
		})
	})
}

// An incomplete line at the end of what looked like a copy belongs to the file that it
// becomes.
func TestFollow_tornCopy(t *testing.T) {
	for name, c := range map[string]struct {
		format      file.Format
		first, torn string
		rest        string
		wantFirst   []string
		want        []string
	}{
		"lines": {file.Lines, banner + "\n30\n31\n", banner + "\n3", "5\n", []string{banner, "30", "31"}, []string{banner, "35"}},
		"rows": {
			file.CSV, banner + "\n\"a\nb\"\n\"c\"\n", banner + "\n\"a\n", "x\"\n",
			[]string{"map[" + banner + ":a\nb]", "map[" + banner + ":c]"}, []string{"map[" + banner + ":a\nx]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				write(t, dir, "a", c.first)
				f := follow(t, dir, c.format, nil)
				defer f.close()
				f.want(c.wantFirst...)
				b := write(t, dir, "b", c.torn)
				f.wantWithin(30 * time.Second)
				grow(t, b, c.rest)
				f.want(c.want...)
			})
		})
	}
}

// A compressed file that was renamed before it was read has not vanished.
func TestFollow_compressedRenamed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "1.gz", gzipped(t, "1\n2\n"))
		write(t, dir, "2.gz", gzipped(t, "3\n4\n"))
		f := follow(t, dir, file.Lines, nil, file.WithBatch(1, 1))
		defer f.close()
		recs, err := f.s.Read(context.Background())
		must(t, err)
		if got := texts(recs); got[0] != "1" {
			t.Fatal(got)
		}
		move(t, dir, "2.gz", "3.gz")
		f.wantWithin(30*time.Second, "2", "3", "4")
		if n := f.s.Stats().BytesVanished; n != 0 {
			t.Errorf("%d bytes vanished", n)
		}
	})
}

// A compressed file that another one has replaced before it was read is never taken for the
// first one.
func TestSource_compressedReplaced(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "1.gz", gzipped(t, "1\n2\n"))
	write(t, dir, "2.gz", gzipped(t, "3\n4\n5\n"))
	opts := []file.SourceOption{file.WithBatch(1, 1)}
	s := opened(t, dir, file.Lines, nil, opts...)
	recs, err := s.Read(context.Background())
	must(t, err)
	move(t, dir, "2.gz", "3.gz")
	write(t, dir, "2.gz", gzipped(t, "6\n7\n8\n"))
	var last opencdc.Position
	seen := len(recs)
	for ; err == nil; seen += len(recs) {
		last = recs[len(recs)-1].Position
		recs, err = s.Read(context.Background())
	}
	if err == io.EOF {
		t.Fatal("the replacement was not noticed")
	}
	wantError(t, err, "2.gz", "offset 0", "truncated or replaced")
	rest := texts(mustReadAll(t, opened(t, dir, file.Lines, last, opts...)))
	if want := "6 7 8 3 4 5"; seen != 2 || strings.Join(rest, " ") != want {
		t.Fatalf("got %d records and then %q, want 2 and %q", seen, rest, want)
	}
}

// An empty file that is written and renamed at once is identified under its new name.
func TestFollow_begunAndRenamed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "a", "1\n2\n")
		b := write(t, dir, "b.gz", "")
		f := follow(t, dir, file.Lines, nil)
		defer f.close()
		f.want("1", "2")
		grow(t, b, gzipped(t, "1\n2\n"))
		move(t, dir, "b.gz", "c.gz")
		f.wantWithin(30 * time.Second)
	})
}

// A file of which a longer, finished copy is there is no reason for Open to fail when another
// file has its name.
func TestFollow_heldByLonger(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := write(t, dir, "log", "")
		b := write(t, dir, "log.gz", "")
		f := follow(t, dir, file.Lines, nil, file.WithBatch(1, 1))
		f.want()
		grow(t, path, "1\n2\n3\n")
		grow(t, b, gzipped(t, "1\n2\n3\n"))
		drop(t, dir, "log")
		write(t, dir, "log", "")
		recs, err := f.poll(3 * time.Second)
		must(t, err)
		f.close()
		for _, rec := range recs { // wherever it is restarted, it opens
			f = follow(t, dir, file.Lines, rec.Position)
			_, err := f.poll(3 * time.Second)
			must(t, err)
			f.close()
		}
	})
}
