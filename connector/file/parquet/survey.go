package parquet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/conduitio/funnel/internal/place"
)

// open finds the files, and decides which of them are to be read from which row on.
func (s *session) open(ctx context.Context, path string) error {
	s.ctx = ctx
	at, err := place.Find(path, "._")
	if err != nil {
		return err
	}
	listed, _, err := at.List(ctx)
	if err != nil {
		return err
	}
	if s.isOne = at.IsFile(); s.isOne && len(listed) == 0 {
		return &os.PathError{Op: "stat", Path: at.Path(), Err: syscall.ENOENT}
	}
	if len(listed) > s.config.maxFiles {
		return fmt.Errorf("there are %d files at %q, more than the maximum of %d", len(listed), path, s.config.maxFiles)
	}
	var files []*sourceFile
	found := make(map[string]*sourceFile)
	isPresent := make(map[identity]bool)
	for _, l := range listed {
		if err := s.ended(); err != nil {
			return err
		}
		f, err := s.survey(l.Name)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		found[f.name] = f
		if f.err == nil {
			isPresent[f.id] = true
		}
		if f.err != nil || !s.isKnown[f.id] {
			files = append(files, f)
		}
	}
	s.resume(files)
	if err := s.checkOrphans(found); err != nil {
		return err
	}
	s.forget(isPresent)
	for _, f := range s.files {
		s.known += f.rows - f.row
	}
	s.stats.Files = len(s.files)
	s.publish()
	return nil
}

// survey looks at a file. It returns nil if the file is gone, and an error if its schema is
// not supported. Damage is for later, when the rows before it were read.
func (s *session) survey(name string) (*sourceFile, error) {
	f := &sourceFile{name: name}
	r, err := openReader(name, s.scratch, s.ended)
	var schema *schemaError
	switch {
	case err == nil:
		f.id, f.rows = r.id, r.numRows()
		return f, r.close()
	case s.ended() != nil:
		return nil, s.ended()
	case errors.As(err, &schema):
		return nil, fmt.Errorf("file %q: %w", name, err)
	case place.IsGone(err) && !s.isOne:
		return nil, nil
	}
	f.err = err
	return f, nil
}

// resume gives the files that were read in part their rows, and puts them before the others.
// If there are copies, the one with the same name goes on.
func (s *session) resume(files []*sourceFile) {
	var gone []partlyRead
	for _, k := range s.orphans {
		var best *sourceFile
		for _, f := range files {
			if f.err == nil && f.id == k.id && (best == nil || f.name == k.name) {
				best = f
			}
		}
		if best == nil {
			gone = append(gone, k)
			continue
		}
		best.row = k.row
		s.files = append(s.files, best)
	}
	s.orphans = gone
	for _, f := range files {
		if f.row == 0 {
			s.files = append(s.files, f)
		}
	}
}

// checkOrphans decides about files that were read in part and are gone. It returns an error
// if another file was found at the path of one of them, whether that is to be read or not.
func (s *session) checkOrphans(found map[string]*sourceFile) error {
	gone := s.orphans
	s.orphans = nil
	for _, k := range gone {
		if k.name == "" { // that is known
			s.orphans = append(s.orphans, k)
			continue
		}
		if f := found[k.name]; f != nil && !s.config.startsAnew {
			err := fmt.Errorf("file %q, row %d: %w, and no other file holds it; "+
				"remove or rename the file, or use WithStartAnew to read it from its first row", k.name, k.row+1, errChanged)
			if f.err != nil {
				err = fmt.Errorf("%w (%w)", err, f.err)
			}
			return err
		}
		s.vanished(k)
	}
	return nil
}

// maxVanished is the number of files that are remembered although they are gone.
const maxVanished = 1000

// forget forgets the oldest of the files that are gone.
func (s *session) forget(isPresent map[identity]bool) {
	gone := 0
	for _, id := range s.finished {
		if !isPresent[id] {
			gone++
		}
	}
	s.finished = slices.DeleteFunc(s.finished, func(id identity) bool {
		if isPresent[id] || gone <= maxVanished {
			return false
		}
		gone--
		delete(s.isKnown, id)
		return true
	})
	if more := len(s.orphans) - maxVanished; more > 0 {
		s.orphans = s.orphans[more:]
	}
}
