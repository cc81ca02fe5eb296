package place

import "os"

// Open opens a file for reading. If the file is a pipe, Open does not wait for a writer.
func Open(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
}
