package file_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/log"
)

// An empty log that is written, renamed, compressed and deleted between two looks is read
// once, from the open file or from the copy.
func TestFollow_begunAndDeleted(t *testing.T) {
	for name, copied := range map[string]string{"into an empty file": "log.1.gz", "into a new file": "log.2.gz"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				path := write(t, dir, "log", "")
				write(t, dir, "log.1.gz", "")
				f := follow(t, dir, file.Lines, nil)
				defer f.close()
				f.want()
				grow(t, path, "1\n2\n")
				write(t, dir, copied, gzipped(t, "1\n2\n"))
				must(t, os.Remove(path))
				f.wantWithin(30*time.Second, "1", "2")
			})
		})
	}
}

// A copy that was seen while it was empty, and then compressed and deleted between two looks,
// is still a copy.
func TestFollow_emptyCopyDeleted(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path, copied := write(t, dir, "log", "1\n2\n"), write(t, dir, "log.1", "")
		f := follow(t, dir, file.Lines, nil)
		defer f.close()
		f.want("1", "2")
		copyTruncate(t, path, copied)
		write(t, dir, "log.1.gz", gzipped(t, "1\n2\n"))
		must(t, os.Remove(copied))
		f.wantWithin(30 * time.Second)
		grow(t, path, "3\n")
		f.want("3")
	})
}

// A log that holds only what other files begin with, too, waits. A copy of it is recognised
// also if it was made before the log was looked at again.
func TestFollow_copyOfWaiting(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "log.2", "n\n1\n")
		f := follow(t, dir, file.CSV, nil)
		defer f.close()
		f.want("map[n:1]")
		path := write(t, dir, "log", "n\n")
		f.want()
		grow(t, path, "2\n")
		write(t, dir, "log.1", "n\n2\n")
		f.wantWithin(30*time.Second, "map[n:2]")
	})
}

// A log that is truncated, and grows again, before it was read beyond what both contents begin
// with is read from its copy, too.
func TestFollow_copyOfRegrown(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := write(t, dir, "a", "a\n")
		f := follow(t, dir, file.Lines, nil, file.WithBatch(1, 1))
		defer f.close()
		f.want("a")
		grow(t, a, strings.Repeat("a\n", 5))
		path := write(t, dir, "log", banner+"\n1\n")
		write(t, dir, "log.1", banner+"\n1\n")
		time.Sleep(2 * time.Second)
		if recs, err := f.s.Read(t.Context()); err != nil || texts(recs)[0] != "a" {
			t.Fatal(texts(recs), err)
		}
		replaceIn(t, path, banner+"\n2\n3\n")
		recs, err := f.poll(30 * time.Second)
		must(t, err)
		got := strings.Join(texts(recs), " ")
		for _, want := range []string{" 1", " 2", " 3"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is missing", want)
			}
		}
	})
}

// A file that another one has replaced before it was read is never taken for the first one,
// although they begin alike.
func TestSource_replaced(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "1", banner+"\n1\n")
	write(t, dir, "2", banner+"\n2\n")
	s := opened(t, dir, file.Lines, nil, file.WithBatch(1, 1))
	move(t, dir, "2", "3")
	write(t, dir, "2", banner+"\n3\n")
	recs, err := readAll(t, s)
	if got := strings.Join(texts(recs), " "); got != banner+" 1" || err == io.EOF {
		t.Fatalf("got %.20q…, %v", got[len(banner):], err)
	}
	wantError(t, err, "2", "offset 0", "truncated or replaced")
}

// Nothing is said to have vanished if another file holds what was read of a file that is gone.
func TestFollow_heldIsNotVanished(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := write(t, dir, "log", "1\n2\n")
		f := follow(t, dir, file.Lines, nil)
		f.want("1", "2")
		write(t, dir, "log.1", "1\n2\n")
		f.want()
		write(t, dir, "other", "3\n")
		recs := f.want("3")
		f.close()
		must(t, os.Remove(path))
		f = follow(t, filepath.Join(dir, "*"), file.Lines, recs[0].Position)
		defer f.close()
		f.wantWithin(15 * time.Second)
		if f.log.Len() > 0 {
			t.Errorf("logged: %s", f.log.String())
		}
	})
}

// What is written to a file, which is removed before the source looks again, is read, and
// only once if there is a copy.
func TestFollow_begunAndRemoved(t *testing.T) {
	for _, n := range []int{3, 2000} {
		for _, hasCopy := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				a := write(t, dir, "a", "")
				f := follow(t, dir, file.Lines, nil)
				defer f.close()
				f.want()
				grow(t, a, numbered(1, n))
				if hasCopy {
					write(t, dir, "b", numbered(1, n))
				}
				must(t, os.Remove(a))
				f.wantWithin(time.Minute, strings.Fields(numbered(1, n))...)
			})
		}
	}
}

// A compressed file that is written anew after it was surveyed is no error: another look reads
// it.
func TestFollow_compressedAnew(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		content := numbered(1, 2000)
		gone := write(t, dir, "gone", "x\ny\n")
		f := follow(t, dir, file.Lines, nil)
		recs := f.want("x", "y")
		f.close()
		must(t, os.Remove(gone))
		write(t, dir, "log", content)
		compressed := gzipped(t, content)
		copied := write(t, dir, "log.gz", compressed)
		changes := 0
		logger := log.New(zerolog.New(writerFunc(func() { // what is gone is logged between survey and comparison
			changes++
			write(t, dir, "log.gz", compressed[:len(compressed)/2])
		})))
		f = follow(t, dir, file.Lines, recs[0].Position, file.WithLogger(logger))
		defer f.close()
		if changes != 1 {
			t.Fatalf("the file was changed %d times", changes)
		}
		must(t, os.WriteFile(copied, []byte(compressed), 0o600))
		f.wantWithin(time.Minute, strings.Fields(content)...)
	})
}

type writerFunc func()

func (w writerFunc) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}

// What is appended to a copy without a name is read.
func TestFollow_namelessCopyGrows(t *testing.T) {
	for name, tc := range map[string]struct {
		format       file.Format
		copied, more string
		copies, own  []string
	}{
		"short lines": {file.Lines, "1\n2\n", "3\n", []string{"1", "2"}, []string{"3"}},
		"long lines":  {file.Lines, numbered(1, 20000), "own\n", strings.Fields(numbered(1, 20000)), []string{"own"}},
		"CSV":         {file.CSV, "n\n1\n", "2\n", []string{"map[n:1]"}, []string{"map[n:2]"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				write(t, dir, "a", tc.copied)
				path := write(t, dir, "b", "")
				f := follow(t, dir, tc.format, nil)
				defer f.close()
				f.wantWithin(time.Minute, tc.copies...)
				b, err := os.OpenFile(path, os.O_WRONLY, 0)
				must(t, err)
				defer b.Close()
				_, err = b.WriteString(tc.copied)
				must(t, errors.Join(err, os.Remove(path)))
				f.want()
				_, err = b.WriteString(tc.more)
				must(t, err)
				f.want(tc.own...)
				if got := f.s.Stats().BytesVanished; got != 0 {
					t.Errorf("%d bytes vanished", got)
				}
			})
		})
	}
}

// A log that was copied and truncated before it was read is continued in the copy, although the
// copy has the name and the beginning of a finished file that is gone.
func TestFollow_continuedUnderKnownName(t *testing.T) {
	for name, tc := range map[string]struct {
		format       file.Format
		known        string // of the finished file
		before, more string // of the log: read, and not read
		want         []string
	}{
		"nothing was read":          {file.CSV, "n\n", "", "n\n1\n2\n", []string{"map[n:1]", "map[n:2]"}},
		"as much as the known file": {file.Lines, banner + "\n", banner + "\n", "1\n2\n", []string{"1", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				a := write(t, dir, "a", "n\na\n")
				old := write(t, dir, "log.1", tc.known)
				f := follow(t, dir, tc.format, nil, file.WithBatch(1, 1))
				defer f.close()
				_, err := f.poll(30 * time.Second)
				must(t, err)
				must(t, os.Remove(old))
				log := write(t, dir, "log", tc.before)
				_, err = f.poll(30 * time.Second)
				must(t, err)
				grow(t, a, strings.Repeat("a\n", 5))
				grow(t, log, tc.more)
				time.Sleep(2 * time.Second)
				recs, err := f.s.Read(t.Context())
				must(t, err)
				for _, more := range tc.want {
					if strings.Contains(texts(recs)[0], more) {
						t.Fatalf("the log is read first: %q", texts(recs))
					}
				}
				write(t, dir, "log.1", tc.before+tc.more)
				must(t, os.Truncate(log, 0))
				recs, err = f.poll(30 * time.Second)
				must(t, err)
				got := slices.DeleteFunc(texts(recs), func(text string) bool { return text == "a" || text == "map[n:a]" })
				if !slices.Equal(got, tc.want) {
					t.Errorf("got %.300q, want %q", got, tc.want)
				}
				if f.log.Len() > 0 {
					t.Errorf("logged: %s", f.log.String())
				}
			})
		})
	}
}
