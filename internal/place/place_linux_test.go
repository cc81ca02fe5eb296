package place_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/conduitio/funnel/internal/place"
)

// A directory that cannot be read may hold files: it is an error, not an empty place.
func TestPlace_List_unreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read it")
	}
	dir := tree(t, "logs/a/x")
	logs := filepath.Join(dir, "logs")
	must(t, os.Chmod(logs, 0))
	defer func() { must(t, os.Chmod(logs, 0o700)) }()
	if _, _, err := find(t, logs+"/*/x*", ".").List(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("got the error %v", err)
	}
}

// Open returns although nothing writes to the pipe.
func TestOpen_pipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(path, 0o600))
	opened := make(chan error, 1)
	go func() {
		f, err := place.Open(path)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("Open waits")
	}
}
