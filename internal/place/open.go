package place

import "os"

// Open opens a file for reading. If there is a pipe instead, Open does not wait for one who
// writes to it.
func Open(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
}
