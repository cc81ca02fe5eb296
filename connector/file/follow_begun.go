package file

import (
	"os"
	"slices"
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

// putBack closes the files that the look has found under a name, and goes on with those that
// have none. If the look has failed, or could not decide, another one identifies them.
func (s *session) putBack(begun []*sourceFile, hasFailed bool) {
	for _, f := range begun {
		if s.isFound(f) {
			_ = f.close()
			continue
		}
		info, err := os.Stat(f.name)
		f.isIdle = hasFailed || err == nil && os.SameFile(info, f.info)
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
