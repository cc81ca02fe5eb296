// Package positionfs has the options of the store of files in package position. It lets
// tests give the store another file system.
package positionfs

import (
	"io/fs"

	"github.com/conduitio/funnel/internal/disk"
)

// Config is what options change.
type Config struct {
	// FS is the file system. The default is [disk.OS].
	FS disk.FS
	// Mode is that of new files.
	Mode fs.FileMode
}

// Option changes a Config.
type Option func(*Config)

// With returns an option that sets the file system.
func With(fsys disk.FS) Option {
	return func(c *Config) { c.FS = fsys }
}
