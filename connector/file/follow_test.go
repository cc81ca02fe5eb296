package file_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/log"
)

// follower reads a source that follows files, in a bubble.
type follower struct {
	t   *testing.T
	s   *file.Source
	log bytes.Buffer
}

func follow(t *testing.T, path string, format file.Format, from opencdc.Position, opts ...file.SourceOption) *follower {
	t.Helper()
	f := &follower{t: t}
	opts = append([]file.SourceOption{file.WithFollow(), file.WithoutNotifications(), f.logger()}, opts...)
	f.s = newSource(t, path, format, from, opts...)
	must(t, f.s.Open(context.Background()))
	return f
}

// logger lets the source log to f.log.
func (f *follower) logger() file.SourceOption { return file.WithLogger(log.New(zerolog.New(&f.log))) }

func (f *follower) close() { must(f.t, f.s.Teardown(context.Background())) }

// poll reads what is there, and what the next looks find in the given time.
func (f *follower) poll(period time.Duration) ([]opencdc.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), period)
	defer cancel()
	var all []opencdc.Record
	for {
		recs, err := f.s.Read(ctx)
		all = append(all, recs...)
		if err != nil && ctx.Err() != nil {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// want polls for some seconds and compares the texts of the records.
func (f *follower) want(want ...string) []opencdc.Record {
	f.t.Helper()
	return f.wantWithin(3*time.Second, want...)
}

func (f *follower) wantWithin(period time.Duration, want ...string) []opencdc.Record {
	f.t.Helper()
	recs, err := f.poll(period)
	if err != nil {
		f.t.Fatalf("got the error %v after %.500q", err, fmt.Sprint(texts(recs)))
	}
	if got := texts(recs); !reflect.DeepEqual(got, append([]string{}, want...)) {
		f.t.Fatalf("got %.500q, want %.500q", fmt.Sprint(got), fmt.Sprint(want))
	}
	return recs
}

// copyTruncate rotates a file as log rotation with copytruncate does.
func copyTruncate(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, b, 0o600))
	must(t, os.Truncate(from, 0))
}

func TestFollow(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, dir string){
		"appended": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "1\n2"), file.Lines, nil)
			defer f.close()
			f.want("1")
			grow(t, dir+"/a", "2\n3")
			f.want("22")
			grow(t, dir+"/a", "\n")
			f.want("3")
		},
		"nothing there yet": func(t *testing.T, dir string) {
			f := follow(t, dir+"/a", file.Lines, nil)
			defer f.close()
			f.want()
			write(t, dir, "a", "")
			f.want()
			grow(t, dir+"/a", "1\n")
			f.want("1")
		},
		"CSV, header in parts": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "a,"), file.CSV, nil)
			defer f.close()
			f.want()
			grow(t, dir+"/a", "b\n1,\"")
			f.want()
			grow(t, dir+"/a", "x\n\"")
			f.want()
			grow(t, dir+"/a", "\n")
			f.want("map[a:1 b:x\n]")
		},
		"byte order mark in parts": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "\xef\xbb"), file.Lines, nil)
			defer f.close()
			f.want()
			grow(t, dir+"/a", "\xbf")
			f.want()
			grow(t, dir+"/a", "1\n")
			f.want("1")
		},
		"renamed, recreated": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "1\n"), file.Lines, nil)
			defer f.close()
			f.want("1")
			grow(t, dir+"/a", "2\n")
			move(t, dir, "a", "b") // leaves the path of the source
			write(t, dir, "a", "3\n")
			grow(t, dir+"/b", "4\n")
			f.want("2", "4", "3")
			grow(t, dir+"/b", "5\n") // a slow writer
			f.want("5")
			grow(t, dir+"/b", "6")
			f.wantWithin(30*time.Second, "6") // no line end comes anymore
			grow(t, dir+"/b", "7\n")
			f.wantWithin(30 * time.Second)
			grow(t, dir+"/a", "8\n")
			f.want("8")
		},
		"renamed, in a directory": func(t *testing.T, dir string) {
			write(t, dir, "a", "1\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want("1")
			for i := range 5 {
				for k := i; k > 0; k-- {
					move(t, dir, fmt.Sprint("a.", k), fmt.Sprint("a.", k+1))
				}
				grow(t, dir+"/a", fmt.Sprintf("old %d\n", i))
				move(t, dir, "a", "a.1")
				write(t, dir, "a", fmt.Sprintf("new %d\n", i))
				f.want(fmt.Sprintf("old %d", i), fmt.Sprintf("new %d", i))
			}
		},
		"deleted, recreated": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "1\n"), file.Lines, nil)
			defer f.close()
			f.want("1")
			grow(t, dir+"/a", "2\n")
			drop(t, dir, "a")
			write(t, dir, "a", "3\n")
			f.want("2", "3")
		},
		"copied, truncated": func(t *testing.T, dir string) {
			write(t, dir, "a", "1\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want("1")
			grow(t, dir+"/a", "2\n3\n")
			copyTruncate(t, dir+"/a", dir+"/a.1")
			grow(t, dir+"/a", "4\n")
			f.want("2", "3", "4")
			if got := f.s.Stats().BytesVanished; got != 0 {
				t.Errorf("%d bytes vanished", got)
			}
		},
		"copied, read, truncated": func(t *testing.T, dir string) {
			write(t, dir, "a", "1\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want("1")
			write(t, dir, "b", "1\n")
			f.want()
			grow(t, dir+"/a", "2\n")
			f.want("2")
			must(t, os.Truncate(dir+"/a", 0))
			grow(t, dir+"/a", "3\n4\n5\n")
			f.want("3", "4", "5")
		},
		"truncated without a copy": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "1\n2"), file.Lines, nil)
			defer f.close()
			f.want("1")
			must(t, os.Truncate(dir+"/a", 0))
			f.wantWithin(30 * time.Second)
			grow(t, dir+"/a", "3\n")
			f.want("3")
			if got := f.s.Stats().BytesVanished; got != 1 {
				t.Errorf("%d bytes vanished", got)
			}
			if got := f.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"level":"warn"`) || !strings.Contains(got, `"bytes":1`) || !strings.Contains(got, dir+"/a") {
				t.Errorf("the log is %s", got)
			}
		},
		"truncated and grown between two looks": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", numbered(1, 500)), file.Lines, nil)
			defer f.close()
			f.want(strings.Fields(numbered(1, 500))...)
			for _, content := range []string{
				numbered(1000, 1500),                  // longer
				numbered(1000, 1100) + "x\n",          // shorter
				numbered(1000, 1100) + "y\n",          // of the same size
				numbered(1000, 1100) + "y\nz\n",       // the same and more
				numbered(1000, 1100) + "z\nz\n1\n2\n", // only the last bytes differ
			} {
				before, err := os.ReadFile(dir + "/a")
				must(t, err)
				write(t, dir, "a", content)
				want := strings.TrimPrefix(content, string(before))
				f.want(strings.Fields(want)...)
			}
		},
		"truncated and grown while another file is read": func(t *testing.T, dir string) {
			write(t, dir, "a", numbered(1, 500))
			write(t, dir, "b", "x\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want(append(strings.Fields(numbered(1, 500)), "x")...)
			content := numbered(1, 400) + numbered(1000, 1200)
			write(t, dir, "a", content)
			f.want(strings.Fields(content)...)
		},
		"compressed and deleted": func(t *testing.T, dir string) {
			write(t, dir, "a", "1\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want("1")
			grow(t, dir+"/a", "2\n")
			move(t, dir, "a", "a.1")
			write(t, dir, "a", "3\n")
			whole := gzipped(t, "1\n2\n")
			write(t, dir, "a.1.gz", whole[:10])
			f.want("2", "3")
			write(t, dir, "a.1.gz", whole)
			drop(t, dir, "a.1")
			f.wantWithin(30 * time.Second)
			grow(t, dir+"/a", "4\n")
			f.want("4")
		},
		"compressed, being written": func(t *testing.T, dir string) {
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			whole := gzipped(t, numbered(1, 9))
			for n := range len(whole) {
				write(t, dir, "a.gz", whole[:n])
				f.wantWithin(2 * time.Second)
			}
			write(t, dir, "a.gz", whole)
			f.want(strings.Fields(numbered(1, 9))...)
		},
		"compressed, never complete": func(t *testing.T, dir string) {
			f := follow(t, dir, file.Lines, nil, file.WithSettlePeriod(5*time.Second))
			defer f.close()
			write(t, dir, "a.gz", gzipped(t, "1\n")+gzipped(t, "2\n")[:10])
			f.want()
			recs, err := f.poll(30 * time.Second)
			if fmt.Sprint(texts(recs)) != "[1]" || err == nil || !strings.Contains(err.Error(), "a.gz") || !strings.Contains(err.Error(), "offset 2") {
				t.Errorf("got %v and the error %v", texts(recs), err)
			}
		},
		"copies at once": func(t *testing.T, dir string) {
			content := numbered(1, 3)
			write(t, dir, "a.gz", gzipped(t, content))
			write(t, dir, "a.zst", zstandard(t, content))
			write(t, dir, "b", numbered(4, 6))
			write(t, dir, "b.gz", gzipped(t, numbered(4, 6)))
			write(t, dir, "c", numbered(4, 6))
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			recs := f.wantWithin(time.Minute, strings.Fields(numbered(1, 6))...)
			for i := range recs {
				again := follow(t, dir, file.Lines, recs[i].Position)
				again.wantWithin(time.Minute, strings.Fields(numbered(i+2, 6))...)
				again.close()
			}
			grow(t, dir+"/b", "7\n")
			f.want("7")
		},
		"grown when finished": func(t *testing.T, dir string) {
			write(t, dir, "a.gz", gzipped(t, "1\n"))
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want("1")
			grow(t, dir+"/a.gz", gzipped(t, "2\n"))
			f.want("2")
		},
		"another file like a finished one that is there": func(t *testing.T, dir string) {
			content := numbered(1, 500)
			write(t, dir, "a.gz", gzipped(t, content))
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want(strings.Fields(content)...)
			write(t, dir, "b", content+"x\n")
			f.want(append(strings.Fields(content), "x")...)
		},
		"one record at a time": func(t *testing.T, dir string) {
			write(t, dir, "a", numbered(1, 4))
			write(t, dir, "b", numbered(11, 14))
			f := follow(t, dir, file.Lines, nil, file.WithBatch(1, 1))
			defer f.close()
			f.want("1", "11", "2", "12", "3", "13", "4", "14") // no file keeps the others waiting
			grow(t, dir+"/a", numbered(5, 7))
			move(t, dir, "a", "c")
			write(t, dir, "a", numbered(101, 102))
			f.want("5", "6", "7", "101", "102") // but the old file comes before the new one
			grow(t, dir+"/a", numbered(103, 105))
			drop(t, dir, "a")
			write(t, dir, "a", numbered(201, 202))
			f.want("103", "104", "105", "201", "202")
			grow(t, dir+"/a", numbered(203, 205))
			copyTruncate(t, dir+"/a", dir+"/d")
			grow(t, dir+"/a", numbered(301, 302))
			f.want("203", "204", "205", "301", "302")
		},
		"copied and truncated with a backlog": func(t *testing.T, dir string) {
			content := numbered(1, 100_000) // more than is in memory
			write(t, dir, "a", content)
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			read, err := f.s.Read(context.Background())
			must(t, err)
			write(t, dir, "b", content)
			time.Sleep(2 * time.Second)
			more, err := f.s.Read(context.Background()) // looks, and finds the copy
			must(t, err)
			write(t, dir, "a", "new\n")
			rest, err := f.poll(20 * time.Second)
			must(t, err)
			got := texts(slices.Concat(read, more, rest))
			if want := append(strings.Fields(content), "new"); !reflect.DeepEqual(got, want) {
				t.Errorf("got %d records", len(got))
			}
			if got := f.s.Stats(); got.BytesVanished != 0 || got.FilesCopied != 0 {
				t.Errorf("got %+v", got)
			}
		},
		"a slow writer": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "0\n"), file.Lines, nil)
			defer f.close()
			f.want("0")
			move(t, dir, "a", "b")
			for i := range 9 {
				grow(t, dir+"/b", fmt.Sprintln(i))
				f.wantWithin(6*time.Second, fmt.Sprint(i))
			}
		},
		"byte order mark, restarted": func(t *testing.T, dir string) {
			write(t, dir, "a", "\xef\xbb\xbf")
			write(t, dir, "b", "1\n")
			f := follow(t, dir, file.Lines, nil)
			recs := f.want("1")
			f.close()
			f = follow(t, dir, file.Lines, recs[0].Position)
			defer f.close()
			f.want()
			grow(t, dir+"/a", "2\n")
			f.want("2")
		},
		"copied, restarted": func(t *testing.T, dir string) {
			write(t, dir, "a", "1\n2\n")
			f := follow(t, dir, file.Lines, nil)
			f.want("1", "2")
			write(t, dir, "b", "1\n2\n")
			f.want()
			write(t, dir, "c", "3\n")
			recs := f.want("3")
			f.close()
			f = follow(t, dir, file.Lines, recs[0].Position)
			defer f.close()
			f.want()
			grow(t, dir+"/a", "4\n")
			f.want("4")
			if got := f.log.String(); got != "" {
				t.Errorf("the log is %q", got)
			}
		},
		"rotated away while the source is down": func(t *testing.T, dir string) {
			path := write(t, dir, "a", "1\n")
			f := follow(t, path, file.Lines, nil)
			f.want("1")
			grow(t, path, "2\n")
			move(t, dir, "a", "b")
			write(t, dir, "a", "3\n")
			recs := f.want("2", "3")
			f.close()
			f = follow(t, path, file.Lines, recs[1].Position)
			f.want()
			f.close()
			f = follow(t, path, file.Lines, recs[0].Position)
			defer f.close()
			f.want("3")
			if got := f.log.String(); !strings.Contains(got, dir+"/a") {
				t.Errorf("the log is %q", got)
			}
		},
		"rotated while a compressed file is read": func(t *testing.T, dir string) {
			f := follow(t, write(t, dir, "a", "n\n1\n2\n")[:len(dir)], file.CSV, nil, file.WithBatch(1, 1))
			defer f.close()
			f.want("map[n:1]", "map[n:2]")
			write(t, dir, "z", gzipped(t, "n\n"+numbered(1000, 60_000)))
			time.Sleep(2 * time.Second)
			recs, err := f.s.Read(context.Background())
			must(t, err)
			grow(t, dir+"/a", "3\n")
			copyTruncate(t, dir+"/a", dir+"/b")
			time.Sleep(2 * time.Second)
			more, err := f.poll(time.Minute)
			must(t, err)
			seen := make(map[string]bool)
			for _, text := range texts(append(recs, more...)) {
				seen[text] = true
			}
			if len(seen) != 59_001+1 || len(recs)+len(more) != len(seen) || !seen["map[n:3]"] || !seen["map[n:60000]"] {
				t.Errorf("%d different records of %d", len(seen), len(recs)+len(more))
			}
		},
		"two files with the same beginning": func(t *testing.T, dir string) {
			write(t, dir, "a", "same\n1\n")
			f := follow(t, dir, file.Lines, nil)
			defer f.close()
			f.want("same", "1")
			write(t, dir, "b", "same\n")
			f.wantWithin(30*time.Second, "same") // rather twice than not at all
			grow(t, dir+"/b", "2\n")
			f.want("2")
			grow(t, dir+"/a", "3\n")
			f.want("3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { run(t, dir) })
		})
	}
}

// Teardown ends a Read that waits.
func TestFollow_teardown(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, filepath.Join(dir, "a"), file.Lines, nil)
		done := make(chan error)
		go func() {
			_, err := f.s.Read(context.Background())
			done <- err
		}()
		synctest.Wait()
		f.close()
		if err := <-done; err == nil {
			t.Error("no error")
		}
	})
}
