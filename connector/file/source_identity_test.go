package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// numbered returns lines with the numbers from first to last.
func numbered(first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "%d\n", i)
	}
	return b.String()
}

func move(t testing.TB, dir, from, to string) {
	t.Helper()
	must(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
}

func drop(t testing.TB, dir, name string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(dir, name)))
}

// A source that stopped in a file finds it again, whatever has become of it.
func TestSource_recognises(t *testing.T) {
	const small, large = 9, 3000 // lines: below and above the size of a fingerprint
	for _, lines := range []int{small, large} {
		content := numbered(1, lines)
		rest := strings.Fields(numbered(5, lines))
		for name, tc := range map[string]struct {
			change func(t *testing.T, dir string)
			want   []string
		}{
			"nothing changed": {func(*testing.T, string) {}, rest},
			"grown":           {func(t *testing.T, dir string) { grow(t, dir+"/a", "x\n") }, append(rest[:len(rest):len(rest)], "x")},
			"renamed":         {func(t *testing.T, dir string) { move(t, dir, "a", "b") }, rest},
			"renamed and recreated": {func(t *testing.T, dir string) {
				move(t, dir, "a", "b")
				write(t, dir, "a", "new\n")
			}, append(rest[:len(rest):len(rest)], "new")},
			"renamed and recreated with the same beginning": {func(t *testing.T, dir string) {
				move(t, dir, "a", "b")
				write(t, dir, "a", numbered(1, 4)+"new\n")
			}, append(rest[:len(rest):len(rest)], "1", "2", "3", "4", "new")},
			"gzipped": {func(t *testing.T, dir string) {
				write(t, dir, "a.gz", gzipped(t, content))
				drop(t, dir, "a")
			}, rest},
			"zstandard, recreated": {func(t *testing.T, dir string) {
				write(t, dir, "a.zst", zstandard(t, content))
				write(t, dir, "a", "new\n")
			}, append(rest[:len(rest):len(rest)], "new")},
			"copied and truncated": {func(t *testing.T, dir string) {
				write(t, dir, "a.1", content)
				write(t, dir, "a", "")
			}, rest},
			"copied, both there": {func(t *testing.T, dir string) { write(t, dir, "0", content) }, rest},
			"copied and compressed, all there": {func(t *testing.T, dir string) {
				write(t, dir, "0", content)
				write(t, dir, "1.gz", gzipped(t, content))
			}, rest},
			"another file with the same beginning": {func(t *testing.T, dir string) {
				write(t, dir, "0", numbered(1, 6)+"other\n")
			}, append(rest[:len(rest):len(rest)], "1", "2", "3", "4", "5", "6", "other")},
			"replaced in compressed form": {func(t *testing.T, dir string) { write(t, dir, "a", gzipped(t, content)) }, rest},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, lines), func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir, "a", content)
				recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
				tc.change(t, dir)
				got := texts(mustReadAll(t, opened(t, dir, file.Lines, recs[3].Position)))
				if !reflect.DeepEqual(got, tc.want) {
					t.Errorf("got  %.300q\nwant %.300q", got, tc.want)
				}
			})
		}
	}
}

// A file that was read to its end is not read again, whatever has become of it.
func TestSource_recognisesFinished(t *testing.T) {
	for _, lines := range []int{3, 3000} {
		content := numbered(1, lines)
		for name, tc := range map[string]struct {
			change func(t *testing.T, dir string)
			want   string
		}{
			"nothing changed": {func(*testing.T, string) {}, "[]"},
			"renamed":         {func(t *testing.T, dir string) { move(t, dir, "a", "c") }, "[]"},
			"grown":           {func(t *testing.T, dir string) { grow(t, dir+"/a", "x\ny\n") }, "[x y]"},
			"renamed and grown": {func(t *testing.T, dir string) {
				move(t, dir, "a", "c")
				grow(t, dir+"/c", "x\n")
			}, "[x]"},
			"copied": {func(t *testing.T, dir string) { write(t, dir, "0", content) }, "[]"},
			"copied, the copy grown": {func(t *testing.T, dir string) {
				write(t, dir, "0", content+"x\n")
			}, fmt.Sprint(append(strings.Fields(content), "x"))},
			"compressed": {func(t *testing.T, dir string) {
				write(t, dir, "a.gz", gzipped(t, content))
				write(t, dir, "a.zst", zstandard(t, content))
				drop(t, dir, "a")
			}, "[]"},
			"replaced":      {func(t *testing.T, dir string) { write(t, dir, "a", "x\n") }, "[x]"},
			"shrunk":        {func(t *testing.T, dir string) { write(t, dir, "a", "1\n2\n") }, "[1 2]"},
			"deleted":       {func(t *testing.T, dir string) { drop(t, dir, "a") }, "[]"},
			"like the last": {func(t *testing.T, dir string) { write(t, dir, "c", "last\n") }, "[]"},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, lines), func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir, "a", content)
				write(t, dir, "b", "last\n")
				recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
				tc.change(t, dir)
				got := texts(mustReadAll(t, opened(t, dir, file.Lines, recs[len(recs)-1].Position)))
				if fmt.Sprint(got) != tc.want {
					t.Errorf("got %.300q, want %.300q", got, tc.want)
				}
			})
		}
	}
}

// A short file that begins like one that was read and deleted is another file: it is
// rather read twice than not at all.
func TestSource_shortBeginning(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "monday", "start\n")
	write(t, dir, "z", "last\n")
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	write(t, dir, "tuesday", "start\nwork\n") // before monday is gone, so that it has another inode
	drop(t, dir, "monday")
	got := texts(mustReadAll(t, opened(t, dir, file.Lines, recs[len(recs)-1].Position)))
	if want := []string{"start", "work"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Of several known files with the same beginning the longest one counts.
func TestSource_longestBeginning(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", numbered(1, 600))
	write(t, dir, "b", numbered(1, 900))
	write(t, dir, "c", numbered(1, 700))
	write(t, dir, "z", "last\n")
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	write(t, dir, "d", numbered(1, 902))
	for _, name := range []string{"a", "b", "c"} {
		drop(t, dir, name)
	}
	if got := fmt.Sprint(texts(mustReadAll(t, opened(t, dir, file.Lines, recs[len(recs)-1].Position)))); got != "[901 902]" {
		t.Errorf("got %.300s", got)
	}
}

// What was read of a file is no longer there, and nowhere else.
func TestSource_changedFile(t *testing.T) {
	for name, content := range map[string]string{
		"too short":           "1\n2\n",
		"empty":               "",
		"replaced":            "1\n2\n3\nx\n5\n6\n",
		"truncated and grown": numbered(10, 99),
		"compressed":          gzipped(t, "other\n"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := write(t, dir, "a", numbered(1, 9))
			recs := mustReadAll(t, opened(t, path, file.Lines, nil))
			write(t, dir, "a", content)
			s := newSource(t, path, file.Lines, recs[3].Position)
			err := s.Open(context.Background())
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "offset 8") {
				t.Fatalf("got the error %v", err)
			}
			must(t, s.Teardown(context.Background()))
			got := texts(mustReadAll(t, opened(t, path, file.Lines, recs[3].Position, file.WithStartAnew())))
			want := texts(mustReadAll(t, opened(t, path, file.Lines, nil)))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("started anew: got %q, want %q", got, want)
			}
		})
	}
}

// A file that differs only behind its first KiB is another file.
func TestSource_changedInTheMiddle(t *testing.T) {
	content := numbered(1, 3000)
	other := strings.Replace(content, "\n1500\n", "\n15x0\n", 1)
	dir := t.TempDir()
	path := write(t, dir, "a", content)
	write(t, dir, "b", "last\n")
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	write(t, dir, "a", other)
	for text, change := range map[string]string{"2000": other, "2001": gzipped(t, other)} {
		write(t, dir, "a", change)
		err := newSource(t, dir, file.Lines, positionOf(t, recs, text)).Open(context.Background())
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got the error %v", err)
		}
		got := texts(mustReadAll(t, opened(t, dir, file.Lines, recs[3000].Position)))
		if !reflect.DeepEqual(got, strings.Fields(other)) {
			t.Errorf("finished before: got %d records", len(got))
		}
	}
	write(t, dir, "a", other)
	got := texts(mustReadAll(t, opened(t, dir, file.Lines, positionOf(t, recs, "1000"))))
	if want := append(strings.Fields(other)[1000:], "last"); !reflect.DeepEqual(got, want) {
		t.Errorf("changed behind the offset: got %d records", len(got))
	}
}

// The modification time counts only if a later change would have a different one.
func TestSource_changedAtTheSameTime(t *testing.T) {
	content := numbered(1, 3000)
	dir := t.TempDir()
	path := write(t, dir, "a", content)
	now := time.Now().Add(time.Hour) // so that the time is not past when the file is read
	must(t, os.Chtimes(path, now, now))
	write(t, dir, "b", "last\n")
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	write(t, dir, "a", strings.Replace(content, "\n1500\n", "\n15x0\n", 1))
	must(t, os.Chtimes(path, now, now))
	if got := mustReadAll(t, opened(t, dir, file.Lines, recs[3000].Position)); len(got) != 3000 {
		t.Errorf("got %d records", len(got))
	}
}

// A file that is truncated while it is read is not at its end.
func TestSource_truncatedWhileRead(t *testing.T) {
	path := write(t, t.TempDir(), "a", numbered(1, 100_000))
	s := opened(t, path, file.Lines, nil)
	_, err := s.Read(context.Background())
	must(t, err)
	must(t, os.Truncate(path, 10))
	if recs, err := readAll(t, s); err == nil || !strings.Contains(err.Error(), path) || len(recs) < 1000 {
		t.Errorf("got the error %v after %d records", err, len(recs))
	}
}

// A file that is truncated while it is read, and has grown again, is not read on in the middle.
func TestSource_replacedWhileRead(t *testing.T) {
	path := write(t, t.TempDir(), "a", numbered(1, 100_000))
	s := opened(t, path, file.Lines, nil)
	_, err := s.Read(context.Background())
	must(t, err)
	must(t, os.WriteFile(path, []byte(numbered(200_000, 400_000)), 0o600))
	recs, err := readAll(t, s)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got the error %v after %d records", err, len(recs))
	}
	for i, text := range texts(recs) {
		if text != fmt.Sprint(i+1001) {
			t.Fatalf("record %d is %q", i+1001, text)
		}
	}
}

// A file that was read in part is gone, and a finished one has its path.
func TestSource_replacedByFinished(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "1\n")
	write(t, dir, "b", "2\n3\n")
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	move(t, dir, "a", "b")
	if got := texts(mustReadAll(t, opened(t, dir, file.Lines, recs[1].Position))); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// A new file gets the inode of one that was deleted.
func TestSource_sameInode(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "a", numbered(1, 9))
	recs := mustReadAll(t, opened(t, path, file.Lines, nil))
	before, err := os.Stat(path)
	must(t, err)
	var after os.FileInfo
	for i := range 100 { // until the file system uses the inode again
		drop(t, dir, "a")
		write(t, dir, "a", "")
		if after, err = os.Stat(path); err != nil || os.SameFile(before, after) {
			break
		}
		if i == 99 {
			t.Skip("the inode is not used again")
		}
	}
	grow(t, path, numbered(11, 99))
	must(t, err)
	if err := newSource(t, path, file.Lines, recs[3].Position).Open(context.Background()); err == nil {
		t.Fatal("the new file is taken for the old one")
	}
}

// Copies of a file that are there from the beginning are read once.
func TestSource_copiesAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", numbered(1, 3))
	write(t, dir, "a.gz", gzipped(t, numbered(1, 3)))
	write(t, dir, "b", numbered(1, 4))
	write(t, dir, "c", numbered(1, 3))
	must(t, os.Link(dir+"/b", dir+"/d"))
	must(t, os.Symlink("b", dir+"/e"))
	s := opened(t, dir, file.Lines, nil)
	if got, want := fmt.Sprint(texts(mustReadAll(t, s))), "[1 2 3 1 2 3 4]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := s.Stats(); got.FilesCopied != 2 || got.FilesFinished != 2 {
		t.Errorf("got %+v", got)
	}
}

// The rest of a last line without line end, which was read as a record, is passed on raw.
func TestSource_grownInLine(t *testing.T) {
	for format, content := range map[file.Format]string{file.Lines: "abc", file.JSONLines: `{"a":1}`, file.CSV: "a,b\n1,2"} {
		dir := t.TempDir()
		path := write(t, dir, "a", content)
		recs := mustReadAll(t, opened(t, path, format, nil))
		if len(recs) != 1 {
			t.Fatalf("%v: got %v", format, texts(recs))
		}
		p := recs[0].Position
		if got := texts(mustReadAll(t, opened(t, path, format, p))); len(got) > 0 {
			t.Errorf("%v: got %q again", format, got)
		}
		grow(t, path, "\n")
		if got := texts(mustReadAll(t, opened(t, path, format, p))); len(got) > 0 {
			t.Errorf("%v: got %q for a line end", format, got)
		}
		write(t, dir, "a", content)
		grow(t, path, "rest\n")
		if got := texts(mustReadAll(t, opened(t, path, format, p))); !reflect.DeepEqual(got, []string{"!rest"}) {
			t.Errorf("%v: got %q", format, got)
		}
	}
}

// positionOf returns the position of the record with a text.
func positionOf(t testing.TB, recs []opencdc.Record, text string) opencdc.Position {
	t.Helper()
	for i, got := range texts(recs) {
		if got == text {
			return recs[i].Position
		}
	}
	t.Fatalf("there is no record %q", text)
	return nil
}

// Two files that are read in part and have the same beginning are told apart.
func TestSource_sameBeginnings(t *testing.T) {
	header := "name,value\nsame,1\n"
	dir := t.TempDir()
	write(t, dir, "a", header+"a,2\na,3\n")
	write(t, dir, "b", header+"b,2\nb,3\n")
	s := opened(t, dir, file.CSV, nil, file.WithBatch(1, 1))
	recs := mustReadAll(t, s)
	p := positionOf(t, recs, "map[name:a value:2]")
	move(t, dir, "a", "tmp")
	move(t, dir, "b", "a")
	move(t, dir, "tmp", "b")
	got := fmt.Sprint(texts(mustReadAll(t, opened(t, dir, file.CSV, p))))
	if want := "[map[name:a value:3] map[name:same value:1] map[name:b value:2] map[name:b value:3]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// After the shared row only the fingerprint tells which file was read.
	got = fmt.Sprint(texts(mustReadAll(t, opened(t, dir, file.CSV, recs[0].Position))))
	if want := "[map[name:a value:2] map[name:a value:3] map[name:same value:1] map[name:b value:2] map[name:b value:3]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Of finished files that are gone only the last ones are remembered.
func TestSource_forgets(t *testing.T) {
	dir := t.TempDir()
	for i := range 1100 {
		write(t, dir, fmt.Sprint(i), fmt.Sprintf("%d\n", i))
	}
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	for i := range 1099 {
		drop(t, dir, fmt.Sprint(i))
	}
	write(t, dir, "x", "x\n")
	p := recs[1099].Position
	recs = mustReadAll(t, opened(t, dir, file.Lines, p))
	progress, err := file.ParsePosition(recs[0].Position)
	must(t, err)
	if len(recs) != 1 || progress.Finished != 1001 {
		t.Fatalf("got %q, and %d finished files are remembered", texts(recs), progress.Finished)
	}
	if got := texts(mustReadAll(t, opened(t, dir, file.Lines, p))); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	write(t, dir, "0", "0\n")
	write(t, dir, "1098", "1098\n")
	if got := fmt.Sprint(texts(mustReadAll(t, opened(t, dir, file.Lines, recs[0].Position)))); got != "[0]" {
		t.Errorf("got %s", got)
	}
}
