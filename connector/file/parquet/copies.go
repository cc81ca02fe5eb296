package parquet

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// Whether a file is another one is decided in up to three steps, each of which costs more than
// the one before. Its stamp is seen without reading it. Its identity takes the footer and some
// samples. Files with the same identity may still differ, like an export and its correction,
// so that only the checksum of all bytes makes a file a copy of a finished one. It is made of
// every file, before the last row is read: the pages were just read, and are in memory. It is
// also made of a file that has the identity of a finished one, but not its seal.
//
// A file that was read in part has no checksum yet. It goes on where its stamp is, and if that
// is nowhere, in a file with its identity, as long as there is no doubt about which.

// addFinished remembers a file that need not be read.
func (s *session) addFinished(k *finishedFile) {
	s.finished = append(s.finished, k)
	s.alike[k.id] = append(s.alike[k.id], k)
}

// finished returns a file with a checksum as one that need not be read.
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

// likeness says how much speaks for a file being one that was read in part, from 0 to 3, or -1
// if it is another one.
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

// sameStamp is the likeness from which on there is no doubt.
const sameStamp = 2

// resume gives the files that were read in part their rows, and puts them before the others.
// Each goes on in the file that is the most like it, and in one file only.
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
				k.row = 0 // no file takes its place later on, either
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

// errAmbiguous means that it is in doubt which file was read in part.
var errAmbiguous = errors.New("it is not certain which file was read in part")

// find returns a file with a likeness to one that was read in part, or nil if there is none.
// It returns an error if that may be the wrong file, since others look like it, too.
func (s *session) find(k *partlyRead, files []*sourceFile, likeness int) (*sourceFile, error) {
	var found *sourceFile
	var others []*sourceFile
	for _, f := range files {
		switch n := f.likeness(k); {
		case f.row > 0 || n < 0: // it goes on itself, or is another one
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
				"remove or rename all but the one, or use WithStartAnew to read them from their first rows",
				errAmbiguous, k.row, found.name, other.name)
		}
	}
	return found, nil
}

// haveSameBytes compares files by their checksums.
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

// maxVanished is the number of files that are remembered although they are gone.
const maxVanished = 1000

// forget forgets the oldest of the files that are gone, and those of which a copy is there.
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
