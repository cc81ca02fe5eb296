package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

// pending is a file that waits for a decision: until it or another file changes, or until it has
// not changed for long enough.
type pending struct {
	info       os.FileInfo
	changedAt  time.Time
	deadline   time.Time // when it has not changed for long enough
	isSurveyed bool      // since its last change
	generation int       // of the last survey

	copyOf *sourceFile // begins with all bytes of the file; nil if it waits for another reason
	known  *knownFile  // what is known of the file once copyOf is read that far; nil unless it is a copy
	isTorn bool        // it ends in the middle of a record
}

// isWaiting returns true if it is too early to survey a file again. So a file that is being
// written is not read over and over: it must first stay the same for a period, unless there is a
// new file, which may be a copy of it.
func (w *followState) isWaiting(f place.File, hasNew bool, now time.Time, period time.Duration) bool {
	p := w.pending[f.Name]
	if p == nil {
		return false
	}
	if !isSameState(p.info, f.Info) {
		p.info, p.changedAt, p.isSurveyed, p.known = f.Info, now, false, nil
	}
	switch {
	case p.generation != w.generation:
		return false
	case !p.isSurveyed:
		return !hasNew && now.Before(p.changedAt.Add(period))
	default:
		return p.known != nil || now.Before(p.deadline)
	}
}

// waitingFirst moves pending files to the front, so that of a pending file and its new copy the
// pending one is read. hasNew says that some files are not pending.
func (w *followState) waitingFirst(files []place.File) (ordered []place.File, hasNew bool) {
	var others []place.File
	for _, f := range files {
		if p := w.pending[f.Name]; p != nil && os.SameFile(p.info, f.Info) {
			ordered = append(ordered, f)
		} else {
			others = append(others, f)
		}
	}
	return append(ordered, others...), len(others) > 0
}

// wait makes a file pending. It returns false if the file has already been the same for the
// period.
func (w *followState) wait(v *survey, copyOf *sourceFile, now time.Time, period time.Duration) bool {
	p := w.pending[v.Name]
	if p == nil || !isSameState(p.info, v.Info) {
		p = &pending{info: v.Info, changedAt: now}
		w.pending[v.Name] = p
	}
	p.isSurveyed, p.generation, p.copyOf, p.known = true, w.generation, copyOf, nil
	p.deadline = p.changedAt.Add(period)
	return now.Before(p.deadline)
}

// waitForPermission makes a file pending that must not be read: a file that was just made may get
// its permissions later. It returns false if there is another error, or if the file has been the
// same for the period.
func (w *followState) waitForPermission(f place.File, err error, now time.Time, period time.Duration) bool {
	if !errors.Is(err, fs.ErrPermission) || !w.wait(&survey{File: f}, nil, now, period) {
		return false
	}
	w.pending[f.Name].isSurveyed = false // so that it is surveyed again before the deadline
	return true
}

// namelessCopy is an open file without a name that is a copy.
type namelessCopy struct {
	survey  *survey
	content content
}

// followNameless follows the nameless copies of the look from their ends, since a writer may
// still append to them.
func (s *session) followNameless(ctx context.Context) error {
	for _, c := range s.follow.nameless {
		f := continued(c.survey, match{
			known:  &knownFile{offset: c.content.length},
			digest: c.content.digest,
			lines:  c.content.lines,
			isRest: c.content.end.last != '\n',
		})
		if err := s.adopt(ctx, c.survey, f); err != nil {
			return err
		}
	}
	return nil
}

// checkPending finishes copies of files that are still read. A copy is finished when the file
// it is a copy of was read that far, and the copy has not changed for a poll period. files holds
// the state of the files that are there, by name.
func (s *session) checkPending(ctx context.Context, files map[string]os.FileInfo, now time.Time) {
	for name, p := range s.follow.pending {
		if p.copyOf == nil || p.known == nil || p.copyOf.offset < p.known.offset || !slices.Contains(s.files, p.copyOf) {
			continue
		}
		if now.Before(p.changedAt.Add(s.config.pollPeriod)) || !isSameState(p.info, files[name]) {
			continue // it may be still growing
		}
		sum, err := s.hash(ctx, p.copyOf.in, p.known.offset)
		if err != nil {
			continue // another look tries it again
		}
		delete(s.follow.pending, name)
		if sum != p.known.sum {
			continue // the file was truncated before it was read, and has grown again
		}
		if !p.isTorn { // otherwise its last record was not read, and it may become another file
			s.finished = append(s.finished, p.known)
			s.headOf = nil
		}
		s.stats.FilesCopied++
		s.follow.copies[name] = &copied{info: p.info, known: p.known}
	}
}

// withoutCopies leaves out the files that could continue an orphan, but are identical to a
// followed file: they are copies of that file.
func (s *session) withoutCopies(ctx context.Context, surveys []*survey, now time.Time) ([]*survey, error) {
	if !s.config.isFollowed {
		return surveys, nil
	}
	var others []*survey
	for _, v := range surveys {
		mayContinue := slices.ContainsFunc(v.matches, func(m match) bool { return !m.known.isFinished })
		if mayContinue {
			it, err := s.findCopied(ctx, v, nil, now)
			if errors.Is(err, errSurveyAgain) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if it.holder != nil && it.content.length == it.holder.info.Size() {
				s.putOff(v, it, now)
				continue
			}
		}
		others = append(others, v)
	}
	return others, nil
}

// checkCopy returns true if a file need not be read, or not yet, since another file begins with
// all of its bytes, or since it is gone. Otherwise it returns where the file belongs in the
// contents. in is the file if it is open, or nil.
func (s *session) checkCopy(ctx context.Context, v *survey, in *input, now time.Time) (found, bool, error) {
	it, err := s.findCopied(ctx, v, in, now)
	if errors.Is(err, errSurveyAgain) {
		return it, true, nil
	}
	if err != nil || it.holder == nil {
		return it, false, err
	}
	return it, s.putOff(v, it, now), nil
}

// findCopied searches the contents for a file that begins with all bytes of the surveyed one.
func (s *session) findCopied(ctx context.Context, v *survey, in *input, now time.Time) (found, error) {
	if len(v.head) == 0 || v.err != nil {
		return found{}, nil
	}
	if err := s.sortContents(ctx, now); err != nil {
		return found{}, err
	}
	if v.open != nil {
		in = v.open.in
	}
	return s.follow.contents.find(ctx, v.head, v.Name, in)
}

// isCopy returns true if the file is identical to the holder, or too long to begin alike by
// chance. Otherwise it may be an unfinished copy, or another file.
func (it *found) isCopy() bool {
	return it.content.length == it.holder.info.Size() || it.content.length >= fingerprintSize
}

// putOff decides about a file that has a holder. It returns true if the file is a copy, or must
// wait.
func (s *session) putOff(v *survey, it found, now time.Time) bool {
	if v.open != nil { // without a name, it cannot wait
		if it.isCopy() {
			s.follow.nameless = append(s.follow.nameless, namelessCopy{v, it.content})
		}
		return it.isCopy()
	}
	isWaiting := s.follow.wait(v, it.holder, now, s.config.settlePeriod)
	if !it.isCopy() {
		return isWaiting
	}
	p := s.follow.pending[v.Name]
	p.known = &knownFile{
		beginning:     hashBeginning(v.head),
		beginningSize: len(v.head),
		offset:        it.content.length,
		sum:           it.content.digest.Sum64(),
		isFinished:    true,
		hints:         hintsOf(v.Name, v.Info, now),
		isPresent:     true,
	}
	p.isTorn = it.content.end.isTorn(s.format)
	return true
}

// hash returns the checksum of the first bytes of a plain file.
func (s *session) hash(ctx context.Context, in *input, n int64) (uint64, error) {
	var digest xxhash.Digest
	digest.Reset()
	for offset := int64(0); offset < n; {
		if err := life.Ended(ctx); err != nil {
			return 0, err
		}
		read, err := in.readAt(s.scratch[:min(int64(len(s.scratch)), n-offset)], offset)
		_, _ = digest.Write(s.scratch[:read])
		offset += int64(read)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return digest.Sum64(), nil
}
