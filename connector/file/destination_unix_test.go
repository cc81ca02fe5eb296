//go:build unix

package file_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/conduitio/funnel/connector/file"
)

func TestDestination_Open_pipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, newDestination(t, path, file.Lines).Open(t.Context()), path, "a named pipe")
	wantError(t, newDestination(t, os.DevNull, file.Lines).Open(t.Context()), os.DevNull, "a device")
}
