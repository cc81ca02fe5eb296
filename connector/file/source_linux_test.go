package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/connector/file"
)

// asUser lets the goroutine use files without the rights of root, until the end of the test.
func asUser(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread()
	must(t, syscall.Setfsuid(65534))
	t.Cleanup(func() {
		if err := syscall.Setfsuid(0); err == nil {
			runtime.UnlockOSThread()
		}
	})
}

// openDir returns a directory that everybody can use.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777)))
	return dir
}

// A new file may get its permissions after it was made. One that does not get them is an
// error.
func TestFollow_permissions(t *testing.T) {
	dir := openDir(t)
	synctest.Test(t, func(t *testing.T) {
		asUser(t)
		write(t, dir, "a", "1\n")
		f := follow(t, dir, file.Lines, nil)
		defer f.close()
		f.want("1")
		write(t, dir, "b", "2\n")
		must(t, os.Chmod(dir+"/b", 0))
		f.want()
		grow(t, dir+"/a", "3\n")
		f.want("3")
		must(t, os.Chmod(dir+"/b", 0o600))
		f.want("2")
		write(t, dir, "c", "4\n")
		must(t, os.Chmod(dir+"/c", 0))
		if _, err := f.poll(15 * time.Second); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got the error %v", err)
		}
	})
}

// A directory that cannot be read may hold files: it is an error, not an empty source.
func TestSource_unreadableDirectory(t *testing.T) {
	dir := openDir(t)
	asUser(t)
	must(t, os.MkdirAll(dir+"/logs/a", 0o700))
	write(t, dir, "logs/a/x", "1\n")
	must(t, os.Chmod(dir+"/logs", 0))
	defer func() { must(t, os.Chmod(dir+"/logs", 0o700)) }()
	s := newSource(t, dir+"/logs/*/x*", file.Lines, nil)
	if err := s.Open(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got the error %v", err)
	}
}
