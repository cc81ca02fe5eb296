package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

// numbered is a row of the files of these tests.
type numbered struct {
	V int64 `parquet:"v,plain"`
}

// writeRows writes a file that was last changed some time ago.
func writeRows(t *testing.T, path string, opts ...parquet.WriterOption) {
	t.Helper()
	rows := make([]numbered, 100_000)
	for i := range rows {
		rows[i].V = int64(i)
	}
	at := time.Now().Add(-time.Hour)
	err := errors.Join(parquet.WriteFile(path, rows, opts...), os.Chtimes(path, at, at))
	if err != nil {
		t.Fatal(err)
	}
}

// openSession opens a session.
func openSession(t *testing.T, state readState, dir string, opts ...Option) *session {
	t.Helper()
	config, err := newConfig(opts)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(config, state, func(SourceStats) {})
	if err := s.open(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A checksum that contexts interrupt again and again is made nevertheless.
func TestSession_checksumGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeRows(t, path)
	s := openSession(t, readState{}, path, WithBatch(11_111, 1<<30))
	for range 9 { // all rows but one
		if _, err := s.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		recs, err := s.Read(&countdown{context.Background(), 3})
		switch {
		case len(recs) == 1:
			return
		case err != context.Canceled:
			t.Fatal(err)
		}
	}
	t.Fatalf("the checksum is at %d of %d bytes", s.files[0].checksum.next, s.files[0].id.size)
}

// The bytes of a row group are hashed when its rows were read, while they are in memory.
func TestSession_checksumByGroups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeRows(t, path, parquet.MaxRowsPerRowGroup(10_000))
	s := openSession(t, readState{}, path)
	for range 52 {
		if _, err := s.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f := s.files[0]
	want := f.reader.parquet.Metadata().RowGroups[5].FileOffset
	if got := f.checksum.next; got != want || want == 0 {
		t.Errorf("after 52 batches the checksum is at byte %d, want %d", got, want)
	}
	// The groups before the row of a position were not read.
	k := f.partlyRead()
	s = openSession(t, readState{record: uint64(k.row), unfinished: []partlyRead{k}}, path)
	for range 20 {
		if _, err := s.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.files[0].checksum.next; got != 0 {
		t.Errorf("after a restart the checksum is at byte %d", got)
	}
}

// A file that looks like a finished one, but is another one, is hashed once. If it changes
// meanwhile, that is an error when it is its turn.
func TestSession_checksumOfLookalike(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeRows(t, path)
	id := openSession(t, readState{}, path).files[0].id
	state := func() readState {
		return readState{finished: []*finishedFile{{content: content{id: id}}}}
	}
	for _, age := range []time.Duration{time.Hour, -time.Hour} {
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		s := openSession(t, state(), path)
		f := s.files[0]
		if f.checksum.next != id.size {
			t.Fatal("Open did not hash the file")
		}
		sum := f.checksum.digest.Sum64()
		f.checksum.digest.Reset() // so that it shows whether it is made again
		_, err := s.start(f)
		if isSame := f.checksum.digest.Sum64() == sum; err != nil || isSame != (age < 0) {
			t.Fatalf("changed %v ago: whether the file was hashed again is %t, and the error is %v", age, isSame, err)
		}
	}
	// The file changes in an hour, so that Read makes the checksum again.
	s := openSession(t, state(), path)
	for left := range 10 {
		if _, err := s.Read(&countdown{context.Background(), left}); err != context.Canceled {
			t.Fatalf("after %d calls got the error %v", left, err)
		}
	}
	// It goes on itself: nothing is in doubt.
	k := openSession(t, readState{}, path).files[0].partlyRead()
	k.row = 1
	goingOn := state()
	goingOn.unfinished = []partlyRead{k}
	if f := openSession(t, goingOn, path).files[0]; f.row != 1 || f.checksum.next != 0 {
		t.Fatalf("the checksum of a file that goes on at row %d is at byte %d", f.row, f.checksum.next)
	}

	config, err := newConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	s = newSession(config, state(), func(SourceStats) {})
	err = s.open(hooked{t.Context(), func() {
		if n++; n == 10 {
			if err := os.Chtimes(path, time.Time{}, time.Now()); err != nil {
				t.Error(err)
			}
		}
	}}, path)
	if err != nil || n < 12 {
		t.Fatalf("the context was asked %d times, and the error is %v", n, err)
	}
	recs, err := s.Read(t.Context())
	if want := fmt.Sprintf("file %q, row 1: %v", path, errUnsteady); len(recs) > 0 || err == nil || err.Error() != want {
		t.Fatalf("got the error %v, want %s", err, want)
	}

	// A context that ends meanwhile ends Open.
	for left := range 10 {
		s = newSession(config, state(), func(SourceStats) {})
		if err := s.open(&countdown{context.Background(), left}, path); err != context.Canceled {
			t.Fatalf("after %d calls got the error %v", left, err)
		}
	}
}

// hooked is a context that calls a function when it is asked for its error.
type hooked struct {
	context.Context
	hook func()
}

func (c hooked) Err() error {
	c.hook()
	return c.Context.Err()
}

// A read error is one of the checksum.
func TestChecksum_fails(t *testing.T) {
	c := newChecksum(0)
	ended := func() error { return nil }
	r := io.NewSectionReader(failing{}, 0, 100)
	if err := c.extend(r, 100, make([]byte, 10), ended); err != os.ErrPermission {
		t.Fatalf("got the error %v", err)
	}
	r = io.NewSectionReader(failing{}, 0, 50) // it was truncated
	if err := c.extend(r, 100, make([]byte, 10), ended); err == nil {
		t.Fatal("there is no error")
	}
}

// failing is a reader of which nothing can be read from byte 50 on.
type failing struct{}

func (failing) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= 50 {
		return 0, os.ErrPermission
	}
	return len(p), nil
}
