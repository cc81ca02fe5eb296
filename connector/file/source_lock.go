package file

import (
	"errors"
	"os"

	"github.com/conduitio/funnel/internal/disk"
)

// fileLocks are shared locks of the files of a source. A destination has the exclusive lock
// of each file that it has open.
type fileLocks []*os.File

// lockFiles locks all files at a place, or none.
func lockFiles(at place) (locks fileLocks, err error) {
	files, _, err := at.list()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, locks.release())
		}
	}()
	for _, f := range files {
		opened, err := os.OpenFile(f.name, os.O_RDONLY|nonBlocking, 0)
		if isGone(err) {
			continue // as if it had never been there
		}
		if err != nil {
			return locks, err
		}
		locks = append(locks, opened)
		if err := disk.LockShared(opened); err != nil {
			return locks, err
		}
	}
	return locks, nil
}

func (l fileLocks) release() error {
	var errs []error
	for _, f := range l {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
