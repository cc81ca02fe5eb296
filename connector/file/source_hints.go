package file

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conduitio/funnel/internal/place"
)

// settledAge is the least age of a file's modification time for that to count. Within the
// resolution of the clock, a later change would not show.
const settledAge = 2 * time.Second

// hintsOf returns the hints of a file with a name.
func hintsOf(name string, info os.FileInfo, now time.Time) hints {
	h := hints{name: hashName(name)}
	device, number := place.Inode(info)
	if number == 0 {
		return h
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 32), device)
	b = binary.LittleEndian.AppendUint64(b, number)
	h.inode = max(uint32(xxhash.Sum64(b)), 1)
	if age := now.Sub(info.ModTime()); age >= settledAge {
		b = binary.LittleEndian.AppendUint64(b, uint64(info.Size()))
		b = binary.LittleEndian.AppendUint64(b, uint64(info.ModTime().UnixNano()))
		h.stat = max(uint32(xxhash.Sum64(b)), 1)
	}
	return h
}

// maxLikeness is the likeness of files with the same path and inode.
const maxLikeness = 3

// likeness says how many hints speak for two files being the same. The inode counts more
// than the name, since names are used again when files are rotated.
func (h hints) likeness(other hints) int {
	n := 0
	if h.inode != 0 && h.inode == other.inode {
		n += 2
	}
	if h.name != 0 && h.name == other.name {
		n++
	}
	return n
}

// isUnchanged returns true if nothing about the file has changed. It is as reliable as the
// modification time.
func (h hints) isUnchanged(other hints) bool {
	return h.stat != 0 && h.stat == other.stat && h.name == other.name
}
