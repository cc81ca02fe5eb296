package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

func TestNewSource_errors(t *testing.T) {
	dir := t.TempDir()
	recs := mustReadAll(t, opened(t, write(t, dir, "a", "1\n2\n"), file.Lines, nil))
	p := recs[0].Position
	flipped := bytes.Clone(p)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		path   string
		format file.Format
		from   opencdc.Position
		opts   []file.SourceOption
		want   string
	}{
		"no path":            {"", file.Lines, nil, nil, "the path is empty"},
		"zero byte":          {"a\x00", file.Lines, nil, nil, "zero byte"},
		"two stars":          {"a/**/b", file.Lines, nil, nil, "** which is not supported"},
		"bad pattern":        {"a[", file.Lines, nil, nil, "syntax error in pattern"},
		"no format":          {"a", 0, nil, nil, "the format Format(0) is unknown"},
		"foreign position":   {"a", file.Lines, opencdc.Position("42"), nil, "not one of a source of files"},
		"cut position":       {"a", file.Lines, p[:len(p)-1], nil, "damaged"},
		"changed position":   {"a", file.Lines, flipped, nil, "damaged"},
		"longer position":    {"a", file.Lines, append(bytes.Clone(p), 0), nil, "damaged"},
		"later version":      {"a", file.Lines, opencdc.Position("\xf1fp\x02abcdefgh"), nil, "version 2"},
		"of another format":  {"a", file.CSV, p, nil, "of lines, not of CSV"},
		"empty option":       {"a", file.Lines, nil, []file.SourceOption{nil}, "option 0 is nil"},
		"poll period":        {"a", file.Lines, nil, []file.SourceOption{file.WithPollPeriod(0)}, "poll period is 0s"},
		"settle period":      {"a", file.Lines, nil, []file.SourceOption{file.WithSettlePeriod(-1)}, "settle period is -1ns"},
		"record bytes":       {"a", file.Lines, nil, []file.SourceOption{file.WithMaxRecordBytes(0)}, "bytes in a record is 0"},
		"batch records":      {"a", file.Lines, nil, []file.SourceOption{file.WithBatch(0, 1)}, "at least 1"},
		"batch bytes":        {"a", file.Lines, nil, []file.SourceOption{file.WithBatch(1, 0)}, "at least 1"},
		"files":              {"a", file.Lines, nil, []file.SourceOption{file.WithMaxFiles(0)}, "files is 0"},
		"comma":              {"a", file.CSV, nil, []file.SourceOption{file.WithComma('"')}, `'"' cannot stand`},
		"comma of two bytes": {"a", file.CSV, nil, []file.SourceOption{file.WithComma(0xd800)}, "cannot stand"},
		"comma without CSV":  {"a", file.Lines, nil, []file.SourceOption{file.WithComma(';')}, "for the format CSV, not for lines"},
	} {
		s, err := file.NewSource(tc.path, tc.format, tc.from, tc.opts...)
		if s != nil || err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "**,", "**"), tc.want) {
			t.Errorf("%s: got the error %v", name, err)
		}
	}
	for n := range len(p) {
		if _, err := file.ParsePosition(p[:n]); err == nil {
			t.Errorf("%d bytes of a position are accepted", n)
		}
	}
}

func TestSource_Open_errors(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	write(t, dir, "a", "1\n")
	write(t, dir, "b", "2\n")
	for name, tc := range map[string]struct {
		s    *file.Source
		want string
	}{
		"missing":        {newSource(t, dir+"/none", file.Lines, nil), "file does not exist"},
		"too many files": {newSource(t, dir, file.Lines, nil, file.WithMaxFiles(1)), "there are 2 files"},
		"a device":       {newSource(t, "/dev/null", file.Lines, nil), "neither a regular file nor a directory"},
	} {
		if err := tc.s.Open(ctx); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got the error %v", name, err)
		}
		must(t, tc.s.Teardown(ctx))
		if _, err := tc.s.Read(ctx); err == nil || err == io.EOF {
			t.Errorf("%s: Read returned %v", name, err)
		}
	}
	for _, path := range []string{dir + "/c*", t.TempDir(), dir + "/none/*", dir + "/a/*"} {
		if got := mustReadAll(t, opened(t, path, file.Lines, nil)); len(got) > 0 {
			t.Errorf("%s: got %v", path, got)
		}
	}
	s := opened(t, dir, file.Lines, nil)
	if err := s.Open(ctx); err == nil {
		t.Error("opened twice")
	}
}

// What a path leads to, in natural order.
func TestSource_paths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a10", "a2", "a1.log", ".hidden", "b", "a02"} {
		write(t, dir, name, name+"\n")
	}
	must(t, os.Mkdir(filepath.Join(dir, "c"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	write(t, dir, "c/x1", "c/x1\n")
	write(t, dir, "d/x1", "d/x1\n")
	write(t, dir, "d/.x2", "d/.x2\n")
	write(t, dir, "e[1]", "e[1]\n")
	must(t, os.Symlink("none", filepath.Join(dir, "f")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	for path, want := range map[string]string{
		"":       "[a1.log a02 a2 a10 b e[1]]",
		"a*":     "[a1.log a02 a2 a10]",
		".h*":    "[.hidden]",
		"?":      "[b]",
		"*/x*":   "[c/x1 d/x1]",
		"[cd]/*": "[c/x1 d/x1]",
		"e[1]":   "[e[1]]",
		"b":      "[b]",
	} {
		if got := fmt.Sprint(texts(mustReadAll(t, opened(t, filepath.Join(dir, path), file.Lines, nil)))); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

func TestSource_Ack(t *testing.T) {
	ctx := context.Background()
	path := write(t, t.TempDir(), "a", numbered(1, 6))
	s := newSource(t, path, file.Lines, nil, file.WithBatch(3, 1<<20))
	must(t, s.Open(ctx))
	recs, err := s.Read(ctx)
	must(t, err)
	later := mustReadAll(t, opened(t, path, file.Lines, nil))[5].Position
	must(t, s.Ack(ctx, nil))
	must(t, s.Ack(ctx, []opencdc.Position{recs[0].Position, recs[1].Position}))
	for name, p := range map[string]opencdc.Position{
		"again":    recs[1].Position,
		"before":   recs[0].Position,
		"not read": later,
		"foreign":  opencdc.Position("1"),
		"empty":    nil,
	} {
		if err := s.Ack(ctx, []opencdc.Position{p}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := s.Stats().BytesAcked; got != 4 {
		t.Errorf("%d bytes are acked", got)
	}
	must(t, s.Teardown(ctx))
	must(t, s.Teardown(ctx))
	must(t, s.Open(ctx))
	if got := fmt.Sprint(texts(mustReadAll(t, s))); got != "[3 4 5 6]" {
		t.Errorf("got %s", got)
	}
	must(t, s.Teardown(ctx))
}

func TestSource_Stats(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	write(t, dir, "a", "1\n2\n3\n")
	write(t, dir, "b", "4\n123456789\n")
	s := opened(t, dir, file.Lines, nil, file.WithBatch(2, 1<<20), file.WithMaxRecordBytes(8))
	if got, want := s.Stats(), (file.SourceStats{Files: 2, BytesKnown: 18}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	recs, err := s.Read(ctx)
	must(t, err)
	must(t, s.Ack(ctx, []opencdc.Position{recs[0].Position}))
	if got, want := s.Stats(), (file.SourceStats{Files: 2, Records: 2, BytesRead: 4, BytesAcked: 2, BytesKnown: 18}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	mustReadAll(t, s)
	if got, want := s.Stats(), (file.SourceStats{Files: 2, FilesFinished: 2, Records: 6, RecordsDamaged: 2, BytesRead: 18, BytesAcked: 2, BytesKnown: 18}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s = opened(t, dir, file.Lines, recs[1].Position)
	if got, want := s.Stats(), (file.SourceStats{Files: 2, BytesRead: 4, BytesAcked: 4, BytesKnown: 18}); got != want {
		t.Errorf("resumed: got %+v, want %+v", got, want)
	}
}

func TestParsePosition(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a", "1\n2\n")
	b := write(t, dir, "b", "3\n4\n")
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	for i, want := range []file.Progress{
		{Format: file.Lines, Records: 1, Bytes: 2, Files: []file.FileProgress{{Name: a, Offset: 2, Checksum: 0x88a2b04b2f4c54d3}}},
		{Format: file.Lines, Records: 2, Bytes: 4, Files: []file.FileProgress{{Name: a, Offset: 4}}},
		{Format: file.Lines, Records: 3, Bytes: 6, Finished: 1, Files: []file.FileProgress{{Name: b, Offset: 2}}},
		{Format: file.Lines, Records: 4, Bytes: 8, Finished: 1, Files: []file.FileProgress{{Name: b, Offset: 4}}},
	} {
		got, err := file.ParsePosition(recs[i].Position)
		must(t, err)
		if got.Files[0].Checksum == 0 {
			t.Error("no checksum")
		}
		got.Files[0].Checksum, want.Files[0].Checksum = 0, 0
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("record %d: got %+v, want %+v", i, got, want)
		}
	}
}

// A header that cannot be used is an error that says why.
func TestSource_badHeader(t *testing.T) {
	for content, want := range map[string]string{
		"a,b,a\n1,2,3\n":  `offset 0: the header: the columns 1 and 3 have the same name "a"`,
		"\na,,b\n1,2\n":   `offset 1: the header: column 2 has no name`,
		"a,b\"\n1,2\n":    `offset 0: the header: a field without quotes around it holds a quote`,
		"a,\xff\n1,2\n":   `offset 0: the header: the text is not valid UTF-8`,
		"a,b\r1,2\r3,4\r": `offset 0: the header: a carriage return without a line feed`,
	} {
		path := write(t, t.TempDir(), "a", content)
		recs, err := readAll(t, opened(t, path, file.CSV, nil))
		if len(recs) > 0 || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v and the error %v", content, texts(recs), err)
		}
	}
}

// The context of Open and Read ends them; nothing is lost.
func TestSource_context(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", numbered(1, 9))
	ended, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the cause")
	cancel(cause)
	s := opened(t, dir, file.Lines, nil)
	if _, err := s.Read(ended); !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Errorf("got the error %v", err)
	}
	if got := mustReadAll(t, s); len(got) != 9 {
		t.Errorf("got %d records", len(got))
	}
}

// Positions count for the size of a batch, so that many files do not make it large.
func TestSource_batchBytes(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		write(t, dir, fmt.Sprint(i), fmt.Sprint(i, "\n")+numbered(1, 20))
	}
	s := opened(t, dir, file.Lines, nil, file.WithBatch(1000, 10_000))
	total := 0
	for {
		recs, err := s.Read(context.Background())
		if err == io.EOF {
			break
		}
		must(t, err)
		size, last := 0, 0
		for _, rec := range recs {
			last = len(rec.Position) + len(rec.Payload.After.Bytes())
			size += last
			if cap(rec.Position) != len(rec.Position) {
				t.Fatal("there is room behind a position")
			}
		}
		if size-last >= 10_000 {
			t.Fatalf("a batch has %d bytes", size)
		}
		total += len(recs)
	}
	if total != 2100 {
		t.Errorf("got %d records", total)
	}
	if n := len(mustReadAll(t, opened(t, dir, file.Lines, nil, file.WithBatch(1, 1)))); n != 2100 {
		t.Errorf("got %d records one by one", n)
	}
}

// A quote that is never closed takes no more memory than the bound.
func TestSource_openQuoteMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 200 MiB")
	}
	path := filepath.Join(t.TempDir(), "a")
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteString("a,b\n1,\"open\n")
	must(t, err)
	line := []byte(strings.Repeat("1,"+strings.Repeat("x", 97)+"\n", 1000))
	const size = 200 << 20
	for n := 0; n < size; n += len(line) {
		_, err := f.Write(line)
		must(t, err)
	}
	must(t, f.Close())
	const bound = 256 << 10
	s := opened(t, path, file.CSV, nil, file.WithMaxRecordBytes(bound))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	records := 0
	for {
		recs, err := s.Read(context.Background())
		if err == io.EOF {
			break
		}
		must(t, err)
		if records == 0 && texts(recs)[0] != "!1,\"open" {
			t.Fatalf("got %q", texts(recs)[0])
		}
		records += len(recs)
		if records%100_000 < len(recs) {
			recs = nil
			runtime.GC()
			runtime.ReadMemStats(&after)
			peak = max(peak, after.HeapAlloc)
		}
	}
	if want := (size + len(line) - 1) / len(line) * 1000; records != want+1 {
		t.Errorf("got %d records, want %d", records, want+1)
	}
	if used := int64(peak) - int64(before.HeapAlloc); used > 8<<20 {
		t.Errorf("%d bytes are in use", used)
	}
}

// With notifications, what is written is read long before the next look.
func TestFollow_notifications(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "a", "1\n")
	s := opened(t, dir, file.Lines, nil, file.WithFollow(), file.WithPollPeriod(time.Hour))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	read := func(want string) {
		t.Helper()
		recs, err := s.Read(ctx)
		must(t, err)
		if got := fmt.Sprint(texts(recs)); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	read("[1]")
	grow(t, path, "2\n")
	read("[2]")
	move(t, dir, "a", "a.1")
	grow(t, dir+"/a.1", "3\n")
	read("[3]")
	write(t, dir, "tmp", "4\n")
	read("[4]")
	done := make(chan error)
	go func() {
		_, err := s.Read(context.Background())
		done <- err
	}()
	must(t, s.Teardown(ctx))
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// Teardown waits for a pending call no longer than its context allows.
func TestSource_teardownTwice(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, dir, file.Lines, nil)
		for range 3 {
			f.want()
			f.close()
			f.close()
			if _, err := f.s.Read(context.Background()); err == nil {
				t.Error("a read after Teardown")
			}
			must(t, f.s.Open(context.Background()))
		}
		f.close()
	})
}
