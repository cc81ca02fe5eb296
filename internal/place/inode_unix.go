//go:build unix

package place

import (
	"os"
	"syscall"
)

// nonBlocking makes the opening of a pipe return at once.
const nonBlocking = syscall.O_NONBLOCK

// Inode returns the device and the inode of a file, or zeros if they are unknown.
func Inode(info os.FileInfo) (device, number uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), uint64(st.Ino)
	}
	return 0, 0
}
