package bolt_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/disk/disktest"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/position/bolt"
)

// A file that was cut short, or has lost a page, never ends the process, and is never taken
// for a new one.
func TestOpen_damaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "positions.db")
	s := open(t, path)
	c := claim(t, s, "orders")
	save(t, c, "17")
	save(t, c, "17") // so that it does not matter if only the last transaction is lost
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for begin := 0; begin < len(good); begin += os.Getpagesize() {
		lost := slices.Clone(good)
		clear(lost[begin:][:os.Getpagesize()])
		for i, content := range [][]byte{good[:begin+os.Getpagesize()/2], lost} {
			path := filepath.Join(dir, fmt.Sprint(begin, i))
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			err := claimDamaged(t, path)
			switch {
			case errors.Is(err, position.ErrDamaged) && funnel.IsFatalError(err):
				damaged++
			case err != nil && !strings.Contains(err.Error(), path):
				t.Errorf("the error does not name the file: %v", err)
			}
		}
	}
	if damaged < 4 {
		t.Errorf("only %d files were found to be damaged", damaged)
	}
}

// claimDamaged returns the error of Open or Claim. If there is none, it wants the position:
// the page was not in use.
func claimDamaged(t *testing.T, path string) error {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := s.Claim(ctx, "orders")
	if err == nil {
		want(t, c, "17")
	}
	return err
}

// The name of a file is durable once Open has returned.
func TestOpen_syncsDirectory(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	s, err := bolt.Open(filepath.Join(dir, "positions.db"), bolt.WithDisk(fsys))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	calls := fsys.Calls()
	if last := calls[len(calls)-1]; last.Kind != disktest.SyncDir || last.Name != "." {
		t.Errorf("the calls are %v, want a sync of the directory", calls)
	}
	errSync := errors.New("no sync")
	fsys.SetHook(func(disktest.Call) error { return errSync })
	if _, err := bolt.Open(filepath.Join(dir, "other.db"), bolt.WithDisk(fsys)); !errors.Is(err, errSync) {
		t.Errorf("got %v, want %v", err, errSync)
	}
}
