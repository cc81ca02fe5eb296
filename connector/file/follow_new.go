package file

import (
	"cmp"
	"context"
	"math"
	"os"
	"slices"
	"time"
)

// adoptNew adds the new files, except for copies, to the files that are read, in the given
// order, but first those that continue a finished file. It decides about all of them before it
// adds the first.
func (s *session) adoptNew(ctx context.Context, surveys []*survey, assigned map[*survey]match, now time.Time) (err error) {
	files := make([]*sourceFile, len(surveys)) // nil for a copy
	defer func() {
		for _, f := range files {
			if err != nil && f != nil && !f.isLost {
				_ = f.close()
			}
		}
	}()
	for _, i := range originalsFirst(surveys) {
		v := surveys[i]
		f := &sourceFile{beginning: v.head}
		if m, ok := assigned[v]; ok {
			f = continued(v, m)
		}
		if s.config.isFollowed {
			isCopy, err := s.checkNew(ctx, v, f, now)
			if err != nil {
				return err
			}
			if isCopy {
				continue
			}
		}
		files[i] = f
	}
	if err := s.checkContents(ctx, now); err != nil {
		return err
	}
	s.follow.contents = nil
	for i, v := range surveys {
		if m, ok := assigned[v]; ok && files[i] != nil {
			f := files[i]
			files[i] = nil
			if err := s.continueWith(ctx, v, m, f); err != nil {
				return err
			}
		}
	}
	for i, v := range surveys {
		if f := files[i]; f != nil {
			files[i] = nil
			if err := s.adopt(ctx, v, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// originalsFirst returns the indexes of the files in the order in which they are compared, each
// with those before it: files without a name, then plain ones, the largest first, then compressed
// ones.
func originalsFirst(surveys []*survey) []int {
	order := make([]int, len(surveys))
	for i := range order {
		order[i] = i
	}
	key := func(i int) int64 {
		v := surveys[i]
		switch {
		case v.open != nil:
			return math.MinInt64
		case !v.isCompressed():
			return -v.Info.Size()
		default:
			return 1
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(key(i), key(j)) })
	return order
}

// checkNew returns true if a file need not be read, or not yet, since another one holds its
// bytes. Otherwise it prepares f for the file, with which later ones are compared if it is plain.
func (s *session) checkNew(ctx context.Context, v *survey, f *sourceFile, now time.Time) (bool, error) {
	s.openNew(v, f)
	where, isCopy, err := s.checkCopy(ctx, v, f.in, now)
	switch {
	case err != nil || isCopy:
		if !f.isLost {
			_ = f.close()
		}
	case where.hasIndex && f.isSortable():
		s.follow.contents.insert(where, f)
	}
	return isCopy, err
}

// openNew opens a plain file. If that fails, adopt tries again and returns the error.
func (s *session) openNew(v *survey, f *sourceFile) {
	f.name = v.Name
	if v.open != nil {
		f.in, f.info, f.isLost = v.open.in, v.Info, true
		return
	}
	if v.isCompressed() {
		return
	}
	in, err := openInput(v.Name)
	if err != nil {
		return
	}
	if !in.isPlain() || !os.SameFile(in.info, v.Info) {
		_ = in.close()
		return
	}
	f.in, f.info = in, in.info
	s.initialize(f)
}
