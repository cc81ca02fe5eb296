//go:build !windows && (!unix || solaris || aix)

package disk

import (
	"errors"
	"os"
)

// lock fails where Go has no locks that end with the process that holds them.
func lock(*os.File, lockMode) error { return errors.ErrUnsupported }

// syncDir fails where directories cannot be synced.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
