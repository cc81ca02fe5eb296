package file_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/connector/file"
)

// A copy that grows while it is looked at is still a copy, however slowly it is made and
// wherever its parts end.
func TestFollow_growingCopy(t *testing.T) {
	for _, pause := range []time.Duration{500 * time.Millisecond, 3 * time.Second} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			content := numbered(1, 3000)
			write(t, dir, "a", content)
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			if recs, err := f.poll(3 * time.Second); err != nil || len(recs) != 3000 {
				t.Fatalf("got %d records and the error %v", len(recs), err)
			}
			for _, n := range []int{0, 2, 500, 3001, 5001, 7003, len(content)} {
				write(t, dir, "a.1", content[:n])
				f.wantWithin(pause)
			}
			must(t, os.Truncate(dir+"/a", 0))
			f.wantWithin(15 * time.Second)
			grow(t, dir+"/a", "new\n")
			f.want("new")
			if lost := f.s.Stats().BytesVanished; lost != 0 {
				t.Errorf("%d bytes vanished", lost)
			}
		})
	}
}

// A file that was empty is read when it begins, once, if it is no copy.
func TestFollow_emptyBegins(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "a", "1\n")
		write(t, dir, "b", "")
		write(t, dir, "c", "")
		f := follow(t, dir, file.Lines, nil)
		defer f.close()
		f.want("1")
		write(t, dir, "b", "1\n")
		write(t, dir, "c", "2\n")
		f.want("2")
		if got := f.s.Stats().Files; got != 2 {
			t.Errorf("%d files", got)
		}
		grow(t, dir+"/b", "3\n")
		f.want("3")
	})
}

// An incomplete last record may be taken back, as the repair of a torn file does. What was
// read before it is still known.
func TestFollow_tornRecord(t *testing.T) {
	for name, tc := range map[string]struct {
		format       file.Format
		whole, torn  string
		more         string
		first, later string
	}{
		"lines": {file.Lines, "1\n", "{torn", "2\n", "1", "2"},
		"CSV":   {file.CSV, "a\n1\n", "\"torn\nrow\n", "2\n", "map[a:1]", "map[a:2]"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restarts := range []bool{false, true} {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					path := write(t, dir, "a", tc.whole+tc.torn)
					f := follow(t, dir, tc.format, nil)
					recs := f.want(tc.first)
					if restarts {
						f.close()
					}
					must(t, os.Truncate(path, int64(len(tc.whole))))
					if restarts {
						f = follow(t, dir, tc.format, recs[0].Position)
					}
					defer f.close()
					f.wantWithin(15 * time.Second)
					grow(t, path, tc.more)
					f.want(tc.later)
					if lost := f.s.Stats().BytesVanished; lost != 0 {
						t.Errorf("%d bytes vanished", lost)
					}
				})
			}
		})
	}
}

// A directory that is made after Open is read like one that was there.
func TestFollow_directoryLater(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, dir+"/logs", file.Lines, nil)
		defer f.close()
		f.want()
		must(t, os.Mkdir(dir+"/logs", 0o700))
		write(t, dir, "logs/a", "1\n")
		f.want("1")
	})
}

// A copy that was recognised holds what was read of a file, also if the file is truncated
// while nobody looks.
func TestFollow_copyHoldsFile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "a", "1\n2\n")
		f := follow(t, dir, file.Lines, nil)
		f.want("1", "2")
		write(t, dir, "a.1", "1\n2\n")
		f.want()
		write(t, dir, "b", "3\n")
		recs := f.want("3")
		f.close()
		write(t, dir, "a", "4\n")
		f = follow(t, dir, file.Lines, recs[0].Position)
		defer f.close()
		f.want("4")
	})
}

// If a file and its copies appear at once, the longest is read, whatever their names are.
func TestFollow_copiesAtOnce(t *testing.T) {
	contents := map[byte]string{
		'w': numbered(1, 2000), // the whole file
		'p': numbered(1, 1500), // its beginning
		's': numbered(1, 3),    // a short one
	}
	for _, tc := range []struct{ contents, names string }{
		{"ww", "a b"},
		{"ww", "a.gz b"},
		{"ww", "a b.gz"},
		{"ww", "a.gz b.gz"},
		{"www", "a.gz b c.gz"},
		{"www", "a b.gz c"},
		{"pw", "a b"},
		{"pw", "a.gz b"},
		{"wp", "a b"},
		{"pww", "a b c"},
		{"ppw", "a.gz b c"},
		{"ss", "a.gz b"},
		{"sss", "a.gz b c.gz"},
	} {
		for _, isThereAtOpen := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				save := func() {
					for i, name := range strings.Fields(tc.names) {
						content := contents[tc.contents[i]]
						if strings.HasSuffix(name, ".gz") {
							content = gzipped(t, content)
						}
						write(t, dir, name, content)
					}
				}
				if isThereAtOpen {
					save()
				}
				f := follow(t, dir, file.Lines, nil)
				defer f.close()
				if !isThereAtOpen {
					f.want()
					save()
				}
				recs, err := f.poll(time.Minute)
				must(t, err)
				var longest string
				for i := range tc.contents {
					if c := contents[tc.contents[i]]; len(c) > len(longest) {
						longest = c
					}
				}
				want := strings.Fields(longest)
				if got := texts(recs); !slices.Equal(got, want) {
					t.Errorf("%s as %s, there at Open: %t: got %d records, want %d", tc.contents, tc.names, isThereAtOpen, len(got), len(want))
				}
			})
		}
	}
}

// Files that begin alike are read in the natural order of their names (f2 before f10), whatever
// their lengths are.
func TestFollow_orderOfAlike(t *testing.T) {
	for _, common := range []string{"head\n", banner + "\n", strings.Repeat(banner, 5) + "\n"} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			var want []string
			for i := range 300 {
				own := fmt.Sprint("record ", i)
				write(t, dir, fmt.Sprint("f", i), common+own+"\n"+strings.Repeat("x\n", (300-i)%7))
				want = append(want, own)
			}
			f := follow(t, dir, file.Lines, nil, file.WithBatch(1<<20, 1<<30))
			defer f.close()
			recs, err := f.poll(time.Second)
			must(t, err)
			got := slices.DeleteFunc(texts(recs), func(text string) bool { return !strings.HasPrefix(text, "record") })
			if !slices.Equal(got, want) {
				t.Errorf("after %d common bytes: got %d records in the order %.200q…", len(common), len(got), got)
			}
		})
	}
}

// A truncated log is not continued in a copy of another file, even if that copy begins with what
// was read of the log.
func TestFollow_notInCopyOfOther(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log := write(t, dir, "log", "n\n")
		write(t, dir, "other", "n\n1\n")
		f := follow(t, dir, file.CSV, nil)
		defer f.close()
		f.want("map[n:1]")
		must(t, os.Truncate(log, 0))
		write(t, dir, "other.gz", gzipped(t, "n\n1\n"))
		f.wantWithin(30 * time.Second)
		grow(t, log, "n\n2\n")
		f.want("map[n:2]")
	})
}

// What was read of a log is continued in a plain copy rather than in a compressed one, which is
// recognised as its copy then, whatever their names are.
func TestFollow_plainCopyFirst(t *testing.T) {
	for _, names := range [][2]string{{"a.gz", "b"}, {"b.gz", "a"}} {
		for _, n := range []int{1000, 2000} { // what is read before
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				content := numbered(1, 2000)
				read := content[:strings.Index(content, fmt.Sprint("\n", n, "\n"))+len(fmt.Sprint("\n", n, "\n"))]
				log := write(t, dir, "log", read)
				f := follow(t, dir, file.Lines, nil)
				defer f.close()
				recs, err := f.poll(3 * time.Second)
				must(t, err)
				write(t, dir, names[0], gzipped(t, content))
				write(t, dir, names[1], content)
				must(t, os.Truncate(log, 0))
				more, err := f.poll(time.Minute)
				must(t, err)
				got := texts(append(recs, more...))
				if fmt.Sprint(got) != fmt.Sprint(strings.Fields(content)) {
					t.Errorf("%q: got %d records after %d", names, len(more), len(recs))
				}
			})
		}
	}
}

// A copy that grows is continued where the file ends of which it is a copy, although there are
// other copies.
func TestFollow_copyGrows(t *testing.T) {
	for _, isLate := range []bool{false, true} { // the other copy is found in the same look
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			content := numbered(1, 2000)
			write(t, dir, "a", content)
			log := write(t, dir, "log", content)
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.wantWithin(5*time.Second, strings.Fields(content)...)
			write(t, dir, "log.gz", gzipped(t, content))
			if !isLate {
				f.want()
			}
			grow(t, log, "new\n")
			f.wantWithin(30*time.Second, "new")
		})
	}
}

// After a restart, a file that was read in part is continued before others, which may be copies
// of it as it is now, although they begin like a copy of it as it was before.
func TestFollow_copyWhileStopped(t *testing.T) {
	for _, copied := range []string{"a", "z"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			content := numbered(1, 2000)
			log := write(t, dir, "log", content)
			f := follow(t, dir, file.Lines, nil)
			f.wantWithin(3*time.Second, strings.Fields(content)...)
			earlier := write(t, dir, "log.gz", gzipped(t, content))
			f.want()
			grow(t, log, "2001\n")
			recs := f.want("2001")
			f.close()
			must(t, os.Remove(earlier))
			grow(t, log, "2002\n")
			write(t, dir, copied, gzipped(t, numbered(1, 2002)))
			f = follow(t, dir, file.Lines, recs[0].Position)
			defer f.close()
			f.wantWithin(30*time.Second, "2002")
		})
	}
}

// Of a new log and an unfinished copy of it, the log is read, although the copy has the name and
// the beginning of a finished file that is gone.
func TestFollow_unfinishedCopyUnderKnownName(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		old := write(t, dir, "log.1", banner+"\n")
		f := follow(t, dir, file.Lines, nil)
		defer f.close()
		f.want(banner)
		must(t, os.Remove(old))
		f.wantWithin(30 * time.Second)
		write(t, dir, "log.1", banner+"\n1\n2\n")
		write(t, dir, "log", banner+"\n1\n2\n3\n")
		recs, err := f.poll(30 * time.Second)
		must(t, err)
		got := slices.DeleteFunc(texts(recs), func(text string) bool { return text == banner })
		if want := []string{"1", "2", "3"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
