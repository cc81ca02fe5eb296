//go:build !unix

package place

import "os"

// nonBlocking is not needed here.
const nonBlocking = 0

// Inode returns zeros: there are no inodes.
func Inode(os.FileInfo) (device, number uint64) { return 0, 0 }
