package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/conduitio/funnel/internal/place"
)

// copied is a file that need not be read: all of its bytes were read, in it or in another file.
type copied struct {
	info  os.FileInfo
	known *knownFile
}

// isSameState returns true if nothing about a file has changed, as far as one can see
// without reading it.
func isSameState(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// open finds the files that are there and decides what to do with each of them.
func (s *session) open(ctx context.Context) error {
	if s.config.isFollowed {
		s.startFollowing(ctx)
		err := s.look(ctx)
		s.publish(false)
		return err
	}
	files, _, err := s.list(ctx)
	if err != nil {
		return err
	}
	if s.config.isLocked { // before anything is read, and just the files that are read
		if s.locks, files, err = lockFiles(files); err != nil {
			return err
		}
	}
	if len(files) == 0 && s.place.IsFile() {
		return &os.PathError{Op: "open", Path: s.place.Path(), Err: os.ErrNotExist}
	}
	if err := s.identify(ctx, files, nil, time.Now()); err != nil {
		return err
	}
	s.forget()
	s.publish(false)
	return nil
}

// list returns the files that are there, each one once, and the directories to watch.
func (s *session) list(ctx context.Context) ([]place.File, []string, error) {
	s.place.Update()
	files, directories, err := s.place.List(ctx)
	files = place.Distinct(files)
	if err == nil && len(files) > s.config.maxFiles {
		err = fmt.Errorf("there are %d files at %q, more than the maximum of %d", len(files), s.place.Path(), s.config.maxFiles)
	}
	return files, directories, err
}

// identify decides what to do with each new file: continue one that was read in part, leave out
// a copy, or read the file from its beginning. unnamed holds open files to which no name leads
// any more.
func (s *session) identify(ctx context.Context, files []place.File, unnamed []*sourceFile, now time.Time) error {
	var surveys []*survey
	var by *identifier
	for _, open := range unnamed {
		if by == nil {
			by = newIdentifier(s.allKnown(), s.scratch)
		}
		v, err := by.surveyOpen(ctx, open, now)
		if err != nil {
			return err
		}
		surveys = append(surveys, v)
	}
	files, hasNew := s.follow.waitingFirst(files)
	for _, file := range files {
		if s.follow.isWaiting(file, hasNew, now, s.config.pollPeriod) {
			continue
		}
		if by == nil {
			by = newIdentifier(s.allKnown(), s.scratch)
		}
		v, err := by.survey(ctx, file, hintsOf(file.Name, file.Info, now), s.config.isFollowed)
		switch {
		case err == nil:
			surveys = append(surveys, v)
		case s.config.isFollowed && s.follow.waitForPermission(file, err, now, s.config.settlePeriod):
		case !place.IsGone(err):
			return err
		}
	}
	surveys = slices.DeleteFunc(surveys, func(v *survey) bool {
		return errors.Is(v.err, errIncomplete) && s.config.isFollowed && s.follow.wait(v, nil, now, s.config.settlePeriod)
	})
	surveys, err := s.withoutCopies(ctx, surveys, now)
	if err != nil {
		return err
	}
	assigned := assign(surveys, s.orphans, now)
	if err := s.checkOrphans(ctx, files, assigned); err != nil {
		return err
	}
	var others []*survey
	for _, v := range surveys {
		m, ok := assigned[v]
		switch {
		case ok && m.known.isFinished && v.isExact(m):
			s.setCopied(v, m.known)
		case ok && !(m.known.isFinished && s.config.isFollowed):
			if err := s.continueWith(ctx, v, m, continued(v, m)); err != nil {
				return err
			}
		default: // new, or perhaps a finished file that has grown
			others = append(others, v)
		}
	}
	return s.adoptNew(ctx, others, assigned, now)
}

func (s *session) setCopied(v *survey, k *knownFile) {
	if v.open != nil {
		_ = v.open.close()
		return
	}
	s.headOf = nil
	if h := hintsOf(v.Name, v.Info, time.Now()); !k.isPresent || k.hints.name == h.name {
		k.hints = h
	}
	k.isPresent = true
	if s.config.isFollowed {
		s.follow.copies[v.Name] = &copied{info: v.Info, known: k}
		delete(s.follow.pending, v.Name)
	}
}

// allKnown returns the files by whose content others are recognised.
func (s *session) allKnown() []*knownFile {
	known := slices.Clone(s.finished)
	for _, o := range s.orphans {
		known = append(known, o.knownFile)
	}
	return known
}

// assign matches each file with the known file of which it shares the longest content. A file
// that was read in part is continued in one file only.
func assign(surveys []*survey, orphans []*orphan, now time.Time) map[*survey]match {
	type pair struct {
		survey  *survey
		match   match
		isExact bool
		hints   int
	}
	var pairs []pair
	for _, v := range surveys {
		h := hintsOf(v.Name, v.Info, now)
		for _, m := range v.matches {
			p := pair{v, m, v.isExact(m), m.known.hints.likeness(h)}
			if !m.known.isFinished || p.isExact || hasGrown(m.known, p.hints) {
				pairs = append(pairs, p)
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		order := cmp.Compare(b.match.known.evidence(), a.match.known.evidence())
		if order == 0 { // the rest of a finished file is not missed
			order = compareBool(a.match.known.isFinished, b.match.known.isFinished)
		}
		if order == 0 {
			order = cmp.Compare(b.hints, a.hints)
		}
		if order == 0 {
			order = -compareBool(a.isExact, b.isExact)
		}
		if order == 0 { // the others are recognised as copies of a plain file
			order = compareBool(a.survey.isCompressed(), b.survey.isCompressed())
		}
		return order
	})
	assigned := make(map[*survey]match)
	used, isThere := make(map[*knownFile]bool), make(map[*knownFile]bool)
	for _, isExact := range []bool{true, false} { // a finished file that is still there has hardly grown
		for _, p := range pairs {
			k := p.match.known
			if (p.isExact && k.isFinished) != isExact {
				continue
			}
			if _, ok := assigned[p.survey]; ok || used[k] || isThere[k] && !isExact && !isItself(k, p.hints) {
				continue
			}
			if isExact && hasBetter(orphans, p.survey, k) {
				continue
			}
			assigned[p.survey] = p.match
			if isExact {
				isThere[k] = true
			} else {
				used[k] = true
			}
		}
	}
	return assigned
}

// evidence returns how many of the first bytes of a file a match has compared. Nothing may have
// been read of an unfinished file yet.
func (k *knownFile) evidence() int64 { return max(k.offset, int64(k.beginningSize)) }

// hasGrown returns true if a file that begins with the bytes of a finished one is that file.
// If these are few, another file may begin with them, too. Then a hint must agree: it is better
// to read a file twice than not at all.
func hasGrown(k *knownFile, likeness int) bool {
	if k.isPresent {
		return isItself(k, likeness)
	}
	return k.offset >= fingerprintSize || likeness > 0
}

// isItself returns true if there is no doubt that a file that begins with the bytes of a
// finished one is that file, although others with these bytes are there: they are its copies.
func isItself(k *knownFile, likeness int) bool {
	return k.offset >= fingerprintSize && likeness == maxLikeness
}

// hasBetter returns true if an orphan with the file's own path was read exactly as far as the
// finished file: the file continues the orphan then.
func hasBetter(orphans []*orphan, v *survey, k *knownFile) bool {
	return slices.ContainsFunc(orphans, func(o *orphan) bool {
		return o.offset == k.offset && o.sum == k.sum && o.path == v.Name
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// continued returns a file that continues a known one.
func continued(v *survey, m match) *sourceFile {
	f := &sourceFile{
		offset:    m.known.offset,
		counted:   m.known.offset,
		digest:    m.digest,
		lines:     m.lines,
		isRest:    m.isRest,
		beginning: v.head,
		readEnd:   m.known.offset,
	}
	if !v.isCompressed() {
		f.readEnd = max(f.readEnd, int64(len(v.head)))
		if f.readEnd == f.offset { // otherwise the beginning says more
			f.tail = m.tail
		}
	}
	return f
}

// continueWith adds a file that continues a known one to those that are read.
func (s *session) continueWith(ctx context.Context, v *survey, m match, f *sourceFile) error {
	s.orphans = slices.DeleteFunc(s.orphans, func(o *orphan) bool {
		if o.knownFile != m.known {
			return false
		}
		s.follow.setFormer(o.path, f)
		return true
	})
	s.finished = slices.DeleteFunc(s.finished, func(k *knownFile) bool { return k == m.known })
	s.headOf = nil
	return s.adopt(ctx, v, f)
}

// adopt adds a file to those that are read.
func (s *session) adopt(ctx context.Context, v *survey, f *sourceFile) error {
	f.name = v.Name
	if f.in == nil {
		f.info = v.Info
	}
	if v.open != nil {
		s.takeOver(v.open, f)
	}
	f.isCompressed = v.isCompressed()
	f.isQuoted = s.format == CSV
	s.files = append(s.files, f)
	s.stats.Files++
	if !s.config.isFollowed {
		return nil
	}
	if v.open == nil {
		delete(s.follow.pending, f.name)
		delete(s.follow.copies, f.name)
		f.after = s.follow.formerOf(f)
		f.grownAt = time.Now()
	}
	if f.isCompressed {
		return nil
	}
	_, err := s.start(ctx, f) // an open file can be read even if it is deleted
	if err == nil && s.follow.contents != nil && f.isSortable() {
		err = s.follow.contents.add(ctx, f)
	}
	return err
}

// checkOrphans decides about files that were read in part and that no file continues. It
// returns an error if there is another file at the path of one of them, unless the source starts
// anew.
func (s *session) checkOrphans(ctx context.Context, files []place.File, assigned map[*survey]match) error {
	continued := make(map[*knownFile]bool)
	recognised := make(map[string]bool)
	for v, m := range assigned {
		continued[m.known] = true
		recognised[v.Name] = true
	}
	var err error
	s.orphans = slices.DeleteFunc(s.orphans, func(o *orphan) bool {
		if continued[o.knownFile] || !o.deadline.IsZero() {
			return false
		}
		isThere := !o.isMoved && !recognised[o.name] && slices.ContainsFunc(files, func(f place.File) bool { return f.Name == o.name })
		isLost := !isHeld(o, assigned)
		if isLost && isThere && !s.config.startsAnew {
			err = fmt.Errorf("file %q, offset %d: %w, and no other file holds it; "+
				"remove or rename the file, or use WithStartAnew to read it from its beginning", o.name, o.offset, errChanged)
			return false
		}
		if isLost {
			s.vanished(ctx, o.path, o.offset, 0)
		}
		k := o.knownFile
		k.isFinished, k.isPresent, k.hints.stat = true, false, 0
		s.finished = append(s.finished, k)
		return true
	})
	return err
}

// isHeld returns true if another file holds what was read of an orphan, such as a copy that
// was recognised before the file was truncated, or one of which more was read.
func isHeld(o *orphan, assigned map[*survey]match) bool {
	isOrphan := func(m match) bool {
		return m.known == o.knownFile || m.known.offset == o.offset && m.known.sum == o.sum
	}
	for v, m := range assigned {
		if isOrphan(m) || slices.ContainsFunc(v.matches, isOrphan) {
			return true
		}
	}
	return false
}

// isCopyOfFinished returns true if a file holds the same bytes as one that was read to its
// end since Open.
func (s *session) isCopyOfFinished(ctx context.Context, f *sourceFile) (bool, error) {
	now := time.Now()
	v, err := s.fresh.survey(ctx, place.File{Name: f.name, Info: f.info}, hintsOf(f.name, f.info, now), false)
	if err != nil {
		return false, err
	}
	for _, m := range v.matches {
		if v.isExact(m) {
			s.setCopied(v, m.known)
			s.stats.FilesCopied++
			return true, nil
		}
	}
	return false, nil
}
