//go:build unix

package place

import (
	"os"
	"syscall"
)

// nonBlocking lets the opening of a pipe return at once.
const nonBlocking = syscall.O_NONBLOCK

// Inode returns device and inode of a file, or zeros if the file system says none.
func Inode(info os.FileInfo) (device, number uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), uint64(st.Ino)
	}
	return 0, 0
}
