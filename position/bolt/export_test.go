package bolt

import "github.com/conduitio/funnel/internal/disk"

// WithDisk replaces the file system that syncs the directory.
func WithDisk(fsys disk.FS) Option {
	return option(func(c *config) error {
		c.fsys = fsys
		return nil
	})
}
