package file

import (
	"time"

	"github.com/conduitio/funnel/internal/disk"
)

// WithDisk replaces the file system.
func WithDisk(fsys disk.FS) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.fsys = fsys })
}

// WithClock replaces the clock.
func WithClock(now func() time.Time) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.now = now })
}

// MaxAppend is the maximum number of bytes of an append of several records.
const MaxAppend = maxAppend
