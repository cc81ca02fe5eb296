//go:build !unix

package file

import "os"

// nonBlocking is not needed.
const nonBlocking = 0

// inode returns zeros: there are no inodes.
func inode(os.FileInfo) (device, number uint64) { return 0, 0 }
