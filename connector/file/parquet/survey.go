package parquet

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	for _, l := range listed {
		if err := s.ended(); err != nil {
			return err
		}
		f, isFinished, err := s.survey(l.Name)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		found[f.name] = f
		if !isFinished {
			files = append(files, f)
		}
	}
	if err := s.resume(files); err != nil {
		return err
	}
	if err := s.checkOrphans(found); err != nil {
		return err
	}
	s.forget()
	for _, f := range s.files {
		s.known += f.rows - f.row
	}
	s.stats.Files = len(s.files)
	s.publish()
	return nil
}

// survey looks at a file. It returns true if the file need not be read, nil if it is gone, and
// an error if its schema is not supported. Damage is for later, when the rows before it were
// read.
func (s *session) survey(name string) (f *sourceFile, isFinished bool, err error) {
	f = &sourceFile{name: name}
	r, err := openReader(name, s.scratch, s.ended)
	if err == nil {
		f.found(r)
		isFinished, err = s.isFinished(f, r.file)
		err = errors.Join(err, r.close())
	}
	var schema *schemaError
	switch {
	case err == nil:
		return f, isFinished, nil
	case s.ended() != nil:
		return nil, false, s.ended()
	case errors.As(err, &schema):
		return nil, false, fmt.Errorf("file %q: %w", name, err)
	case place.IsGone(err) && !s.isOne:
		return nil, false, nil
	}
	f.err = err
	return f, false, nil
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
