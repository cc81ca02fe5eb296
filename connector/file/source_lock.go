package file

import (
	"errors"
	"os"

	"github.com/conduitio/funnel/internal/disk"
	"github.com/conduitio/funnel/internal/place"
)

// fileLocks are shared locks of the files of a source. A destination has the exclusive lock
// of each file that it has open.
type fileLocks []*os.File

// lockFiles locks all of the files, or none. It returns those that are still there: one that
// comes back is not locked.
func lockFiles(files []place.File) (locks fileLocks, locked []place.File, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, locks.release())
			locks = nil
		}
	}()
	for _, f := range files {
		opened, err := place.Open(f.Name)
		if place.IsGone(err) {
			continue
		}
		if err != nil {
			return locks, nil, err
		}
		locks = append(locks, opened)
		if err := disk.LockShared(opened); err != nil {
			return locks, nil, err
		}
		locked = append(locked, f)
	}
	return locks, locked, nil
}

func (l fileLocks) release() error {
	var errs []error
	for _, f := range l {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
