package disk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// syncData makes the content and the size durable. Unlike fsync, it leaves out the rest, such
// as times.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		default:
			return nil
		}
	}
}
