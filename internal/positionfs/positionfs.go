// Package positionfs holds the options of position.Files. It lets tests give that store
// another file system.
package positionfs

import (
	"io/fs"

	"github.com/conduitio/funnel/internal/disk"
)

// Config is what the options change.
type Config struct {
	// FS is the file system. The default is [disk.OS].
	FS disk.FS
	// Mode holds the permissions of new files.
	Mode fs.FileMode
}

// Option changes a Config.
type Option func(*Config)

// With returns an option that sets the file system.
func With(fsys disk.FS) Option {
	return func(c *Config) { c.FS = fsys }
}
