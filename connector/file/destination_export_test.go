package file

import (
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/disk"
)

// WithDisk replaces the file system.
func WithDisk(fsys disk.FS) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.fsys = fsys })
}

// WithMaxAppend sets the maximum number of bytes of an append of several records.
func WithMaxAppend(n int) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.maxAppend = n })
}

// MaxAppend is the default of WithMaxAppend.
const MaxAppend = defaultMaxAppend

// NewEncoder returns a function that appends a record in a format.
func NewEncoder(format Format) func([]byte, *opencdc.Record) ([]byte, error) {
	return newEncoder(format, &destinationConfig{}).append
}
