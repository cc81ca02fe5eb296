package parquet

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// Up to three steps decide whether two files are the same; each costs more than the one
// before. The stamp is known without reading the file. The identity takes the footer and some
// samples. Files with the same identity may still differ, like an export and its correction,
// so only the checksum of all bytes makes a file a copy of a finished one. The source makes the
// checksum of every file before it reads the last row: the pages were just read, and are in
// memory. It also makes the checksum of a file that has the identity of a finished one, but
// not its seal.
//
// A file that was read in part has no checksum yet. It continues in the file with its stamp
// or, if there is none, in a file with its identity, unless it is uncertain which.

// addFinished remembers a file that need not be read again.
func (s *session) addFinished(k *finishedFile) {
	s.finished = append(s.finished, k)
	s.alike[k.id] = append(s.alike[k.id], k)
}

// finished returns a file with a complete checksum as a finished one.
func (f *sourceFile) finished() *finishedFile {
	return &finishedFile{
		content:   content{f.id, f.checksum.digest.Sum64()},
		seal:      f.stamp.seal(f.name),
		isPresent: true,
	}
}

// partlyRead returns a file as one that was read in part.
func (f *sourceFile) partlyRead() partlyRead {
	return partlyRead{f.id, f.stamp.hash, f.row, f.rows, f.name}
}

// isFinished returns true if a file, or one with the same bytes, was read to its end.
func (s *session) isFinished(f *sourceFile, file *os.File) (bool, error) {
	alike := s.alike[f.id]
	if len(alike) == 0 {
		return false, nil
	}
	seal := f.stamp.seal(f.name)
	for _, k := range alike {
		if seal != 0 && seal == k.seal {
			k.isPresent = true
			return true, nil
		}
	}
	isOrphan := func(k partlyRead) bool { return f.likeness(&k) >= sameStamp }
	if slices.ContainsFunc(s.orphans, isOrphan) {
		return false, nil
	}
	if err := s.extendChecksum(f, file, f.id.size); err != nil {
		return false, err
	}
	found := f.finished()
	isSame := func(k *finishedFile) bool { return k.sum == found.sum }
	if !slices.ContainsFunc(alike, isSame) {
		return false, nil
	}
	s.addFinished(found)
	return true, nil
}

// likeness returns how likely f is to be the file k: from 0 to 3, or -1 if it is another file.
func (f *sourceFile) likeness(k *partlyRead) int {
	if f.err != nil || f.id != k.id {
		return -1
	}
	n := 0
	if f.stamp.hash == k.stamp {
		n += sameStamp
	}
	if f.name == k.name {
		n++
	}
	return n
}

// sameStamp is the least likeness that leaves no doubt.
const sameStamp = 2

// resume finds the files that were read in part, sets their rows, and puts them before the
// others. Each continues in the one file that is most like it.
func (s *session) resume(files []*sourceFile) error {
	resumed := make([]*sourceFile, len(s.orphans))
	for likeness := sameStamp + 1; likeness >= 0; likeness-- {
		for i := range s.orphans {
			k := &s.orphans[i]
			if resumed[i] != nil || k.row == 0 {
				continue
			}
			f, err := s.find(k, files, likeness)
			switch {
			case err == nil && f != nil:
				f.row = k.row
				resumed[i] = f
			case errors.Is(err, errAmbiguous) && s.config.startsAnew:
				k.row = 0 // it is forgotten, so that no file continues it later
			case err != nil:
				return err
			}
		}
	}
	var gone []partlyRead
	for i, k := range s.orphans {
		switch f := resumed[i]; {
		case f != nil:
			s.files = append(s.files, f)
		case k.row > 0:
			gone = append(gone, k)
		}
	}
	s.orphans = gone
	for _, f := range files {
		if f.row == 0 {
			s.files = append(s.files, f)
		}
	}
	return nil
}

// errAmbiguous means that it is uncertain which file was read in part.
var errAmbiguous = errors.New("it is not certain which file was read in part")

// find returns the file with the given likeness to k, or nil if there is none. If a different
// file has the same identity, the file may be the wrong one: then find returns an error that
// wraps errAmbiguous.
func (s *session) find(k *partlyRead, files []*sourceFile, likeness int) (*sourceFile, error) {
	var found *sourceFile
	var others []*sourceFile
	for _, f := range files {
		switch n := f.likeness(k); {
		case f.row > 0 || n < 0: // it continues another file, or is a different one
		case n == likeness && found == nil:
			found = f
		default:
			others = append(others, f)
		}
	}
	if found == nil || likeness >= sameStamp {
		return found, nil
	}
	for _, other := range others {
		isSame, err := s.haveSameBytes(found, other)
		if err != nil {
			return nil, err
		}
		if !isSame {
			return nil, fmt.Errorf("%w up to row %d: %q and %q look like it, but differ; "+
				"remove or rename all but the right one, or use WithStartAnew to read them from their first rows",
				errAmbiguous, k.row, found.name, other.name)
		}
	}
	return found, nil
}

// haveSameBytes returns true if files have the same bytes, by their checksums.
func (s *session) haveSameBytes(files ...*sourceFile) (bool, error) {
	for _, f := range files {
		file, err := openFile(f.name)
		if err != nil {
			return false, err
		}
		err = s.extendChecksum(f, file, f.id.size)
		_ = file.Close() // nothing was written
		if err != nil {
			return false, fmt.Errorf("file %q: %w", f.name, err)
		}
		if f.checksum.digest.Sum64() != files[0].checksum.digest.Sum64() {
			return false, nil
		}
	}
	return true, nil
}

// maxVanished is how many files that are gone are remembered: so many finished files, and as
// many that were read in part.
const maxVanished = 1000

// forget forgets the oldest files that are gone, and all finished ones that are gone but have
// a copy.
func (s *session) forget() {
	isPresent := make(map[content]bool)
	for _, k := range s.finished {
		isPresent[k.content] = isPresent[k.content] || k.isPresent
	}
	gone := 0
	for _, k := range s.finished {
		if !isPresent[k.content] {
			gone++
		}
	}
	finished := s.finished
	s.finished, s.alike = nil, make(map[identity][]*finishedFile)
	for _, k := range finished {
		isCopied := !k.isPresent && isPresent[k.content]
		isOld := !isPresent[k.content] && gone > maxVanished
		if isOld {
			gone--
		}
		if !isCopied && !isOld {
			s.addFinished(k)
		}
	}
	if more := len(s.orphans) - maxVanished; more > 0 {
		s.orphans = s.orphans[more:]
	}
}
