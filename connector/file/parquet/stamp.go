package parquet

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conduitio/funnel/internal/place"
)

// settledAge is how long ago a file must have changed for its stamp to prove that it is
// unchanged: a later change within the resolution of the clock would not show.
const settledAge = 2 * time.Second

// stamp is what can be seen of a file without reading it.
type stamp struct {
	// hash is that of the inode, the size and the time of change. Where there are no inodes,
	// the path stands for it. The device is left out, since its number may be another one
	// after each start of the machine.
	hash      uint32
	isSettled bool
}

// stampOf returns the stamp of a file.
func stampOf(name string, info os.FileInfo) stamp {
	_, inode := place.Inode(info)
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 64), inode)
	b = binary.LittleEndian.AppendUint64(b, uint64(info.Size()))
	b = binary.LittleEndian.AppendUint64(b, uint64(info.ModTime().UnixNano()))
	if inode == 0 {
		b = append(b, name...)
	}
	return stamp{hash: uint32(xxhash.Sum64(b)), isSettled: time.Since(info.ModTime()) >= settledAge}
}

// seal returns a hash of the stamp and the path. It is 0 if the file may change without
// changing its stamp.
func (s stamp) seal(name string) uint32 {
	if !s.isSettled {
		return 0
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 64), s.hash)
	return max(uint32(xxhash.Sum64(append(b, name...))), 1)
}
