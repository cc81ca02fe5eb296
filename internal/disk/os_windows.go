package disk

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

const (
	failImmediately = 1
	exclusiveLock   = 2
	errorLocked     = syscall.Errno(33) // ERROR_LOCK_VIOLATION
	farAway         = 1 << 30           // in units of 4 GiB: no content is there that the lock would guard
)

func lock(f *os.File, mode lockMode) error {
	flags := uintptr(failImmediately)
	if mode == exclusive {
		flags |= exclusiveLock
	}
	at := syscall.Overlapped{OffsetHigh: farAway}
	ok, _, err := lockFileEx.Call(f.Fd(), flags, 0, 1, 0, uintptr(unsafe.Pointer(&at)))
	switch {
	case ok != 0:
		return nil
	case errors.Is(err, errorLocked):
		return ErrLocked
	default:
		return err
	}
}

// syncDir does nothing: Windows cannot sync a directory. NTFS writes its names to a log
// of its own.
func syncDir(string) error { return nil }
