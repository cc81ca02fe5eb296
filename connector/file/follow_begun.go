package file

import (
	"os"
	"slices"
	"time"

	"github.com/conduitio/funnel/internal/place"
)

// takeBegun takes those files out that were empty and have begun since, so that the look
// identifies them like new ones: they may be compressed, or copies. They stay open until
// putBack.
func (s *session) takeBegun() ([]*sourceFile, error) {
	var begun []*sourceFile
	for _, f := range slices.Clone(s.files) {
		if f.in == nil || f.in.kind != undecided || f.offset > 0 || f.isFinal {
			continue
		}
		if err := f.in.detect(); err != nil {
			return begun, f.fault(0, err)
		}
		if f.in.kind == undecided {
			continue
		}
		s.follow.setFormer(f.name, f.after)
		s.detach(f)
		s.stats.Files--
		begun = append(begun, f)
	}
	return begun, nil
}

// nameless returns those that are not compressed and that are not among the files with a
// name. A look identifies them, too: their copies may be among these files.
func nameless(begun []*sourceFile, files []place.File) []*sourceFile {
	return slices.DeleteFunc(slices.Clone(begun), func(f *sourceFile) bool {
		isSame := func(other place.File) bool { return os.SameFile(other.Info, f.info) }
		return !f.in.isPlain() || slices.ContainsFunc(files, isSame)
	})
}

// takeOver goes on with an open file without a name, as f.
func (s *session) takeOver(open, f *sourceFile) {
	f.name, f.in, f.after = open.name, open.in, open.after
	open.in = nil
	f.isLost, f.grownAt = true, time.Now()
	s.follow.setFormer(f.name, f)
	s.initialize(f)
}

// putBack closes the files that the look has found under a name. It keeps those about which
// the look has not decided, so that another one does, and goes on with compressed files
// without a name.
func (s *session) putBack(begun []*sourceFile, hasFailed bool) {
	for _, f := range begun {
		if f.in == nil { // another one goes on with it, or it is a copy
			continue
		}
		if s.isFound(f) {
			_ = f.close()
			continue
		}
		info, err := os.Stat(f.name)
		f.isIdle = hasFailed || f.in.isPlain() || err == nil && os.SameFile(info, f.info)
		if f.isIdle {
			f.in.kind = undecided
		}
		f.isCompressed = !f.in.isPlain()
		s.files = append(s.files, f)
		s.stats.Files++
	}
}

// isFound returns true if the file is one of those that are read, or wait, or need not be
// read. It may have another name by now.
func (s *session) isFound(f *sourceFile) bool {
	for _, p := range s.follow.pending {
		if os.SameFile(p.info, f.info) {
			return true
		}
	}
	for _, c := range s.follow.copies {
		if os.SameFile(c.info, f.info) {
			return true
		}
	}
	return slices.ContainsFunc(s.files, func(other *sourceFile) bool { return os.SameFile(other.info, f.info) })
}
