package disktest

import (
	"bytes"
	"io/fs"
	"syscall"

	"github.com/conduitio/funnel/internal/disk"
)

// recordedFile is an open file of an FS.
type recordedFile struct {
	fs     *FS
	file   disk.File
	name   string
	number int
}

// call makes a call of the file.
func (r *recordedFile) call(c Call, do func(*Call) error) error {
	c.Name, c.file = r.name, r.number
	return r.fs.call(c, do)
}

func (r *recordedFile) ReadAt(p []byte, offset int64) (n int, err error) {
	err = r.call(Call{Kind: Read, Offset: offset, Length: int64(len(p))}, func(*Call) (err error) {
		n, err = r.file.ReadAt(p, offset)
		return err
	})
	return n, err
}

func (r *recordedFile) WriteAt(p []byte, offset int64) (n int, err error) {
	c := Call{Kind: Write, Offset: offset, Length: int64(len(p)), data: bytes.Clone(p)}
	err = r.call(c, func(c *Call) (err error) {
		n, err = r.file.WriteAt(c.data, offset)
		if err == nil {
			r.fs.sizes[r.number] = max(r.fs.sizes[r.number], offset+int64(n))
		}
		return err
	})
	return n, err
}

func (r *recordedFile) Truncate(size int64) error {
	return r.call(Call{Kind: Truncate, Length: size}, func(*Call) error {
		if err := r.file.Truncate(size); err != nil {
			return err
		}
		r.fs.sizes[r.number] = size
		return nil
	})
}

func (r *recordedFile) Sync() error {
	return r.call(Call{Kind: Sync}, func(*Call) error {
		_, err := r.file.Stat() // fails if the file is closed
		return err
	})
}

func (r *recordedFile) Stat() (info fs.FileInfo, err error) {
	err = r.call(Call{Kind: Describe}, func(*Call) (err error) {
		info, err = r.file.Stat()
		return err
	})
	return info, err
}

func (r *recordedFile) Lock() error {
	return r.call(Call{Kind: Lock}, func(*Call) error { return r.file.Lock() })
}

func (r *recordedFile) Close() error {
	return r.call(Call{Kind: Close}, func(*Call) error { return r.file.Close() })
}

// Full returns a hook that simulates a disk with room for free bytes. A write takes as much
// room as it makes its file longer. If there is too little, it writes what fits and fails
// with ENOSPC. Once there is no room at all, creating a file fails, too. Removing a file
// makes no room.
func Full(free int64) Hook {
	return func(c Call) error {
		full := &fs.PathError{Op: string(c.Kind), Path: c.Name, Err: syscall.ENOSPC}
		switch {
		case c.Kind == Open && c.Created && free == 0:
			return full
		case c.Kind == Truncate && c.Growth > 0, c.Kind != Write: // a truncation makes a hole
			return nil
		case c.Growth <= free:
			free -= c.Growth
			return nil
		}
		fits := c.Length - (c.Growth - free)
		free = 0
		return Partly(int(fits), full)
	}
}
