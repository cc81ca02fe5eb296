package bolt

import (
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// guard calls what reads the database. Where a page is damaged, bbolt panics, and where the
// file is too short, the access to memory fails, which would end the process. Both become
// an error.
func guard(call func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if value := recover(); value != nil {
			err = damaged("%v", value)
		}
	}()
	return call()
}

func update(db *bbolt.DB, do func(*bbolt.Tx) error) error {
	return guard(func() error { return db.Update(do) })
}

func view(db *bbolt.DB, do func(*bbolt.Tx) error) error {
	return guard(func() error { return db.View(do) })
}
