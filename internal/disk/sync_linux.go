package disk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// syncData leaves out what fsync writes besides the content and the size, such as times.
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
