package file

import (
	"bytes"
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

// pending is a file that waits for a decision: until it has changed, until another file
// has, or until it has been the same for long enough.
type pending struct {
	info       os.FileInfo
	changedAt  time.Time
	deadline   time.Time // when it has been the same for long enough
	isSurveyed bool      // since it has changed
	generation int

	copyOf *sourceFile // the followed file that it is a copy of
	known  *knownFile  // its own content, if that is the content of copyOf
	isTorn bool        // the content ends in the middle of a record
}

// isWaiting returns true if it is too early to look into a file again. A file that is
// being written is not read over and over: it first has to stay the same for a period, unless
// there is a new file, which may be a copy of it.
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

// waitingFirst returns the files with those first that have waited: if a new file is a copy of
// one of them, that one is read. It returns whether there is a new file.
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

// wait puts a file off, unless it has been the same for the period. It returns true if the
// file is to wait.
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

// waitForPermission puts a file off that cannot be read, since it may just be made: its
// permissions may come after it. It returns false if the error says something else, or if the
// file has been the same for the period.
func (w *followState) waitForPermission(f place.File, err error, now time.Time, period time.Duration) bool {
	if !errors.Is(err, fs.ErrPermission) || !w.wait(&survey{File: f}, nil, now, period) {
		return false
	}
	w.pending[f.Name].isSurveyed = false // each look tries it again
	return true
}

// checkPending decides about copies of files that are still read: when all bytes of a copy
// were read, and it has stayed the same for a period, it is done. files are those that are
// there.
func (s *session) checkPending(ctx context.Context, files map[string]os.FileInfo, now time.Time) {
	for name, p := range s.follow.pending {
		if p.copyOf == nil || p.known == nil || p.copyOf.offset < p.known.offset || !slices.Contains(s.files, p.copyOf) {
			continue
		}
		if now.Before(p.changedAt.Add(s.config.pollPeriod)) || !isSameState(p.info, files[name]) {
			continue // it may be still growing
		}
		sum, err := s.hashBytes(ctx, p.copyOf.in, p.known.offset)
		if err != nil {
			continue // another look tries it again
		}
		delete(s.follow.pending, name)
		if sum != p.known.sum {
			continue // the file was truncated before it was read, and has grown again
		}
		if !p.isTorn { // otherwise nobody has read it up to there, and it may become another file
			s.finished = append(s.finished, p.known)
			s.headOf = nil
		}
		s.stats.FilesCopied++
		s.follow.copies[name] = &copied{info: p.info, known: p.known}
	}
}

// checkCopyOfFollowed returns true if the bytes of a file are those of one that is read,
// so that it is not to be read, or not yet.
func (s *session) checkCopyOfFollowed(ctx context.Context, v *survey, now time.Time) (bool, error) {
	for _, f := range slices.Clone(s.files) {
		n := min(len(f.beginning), len(v.head))
		if n == 0 || f.in == nil || !f.in.isPlain() || string(f.beginning[:n]) != string(v.head[:n]) {
			continue
		}
		if isIntact, err := f.isIntact(&s.window); err != nil {
			return false, f.fault(f.offset, err)
		} else if !isIntact { // it was truncated after its copy was made
			return true, s.leaveChanged(ctx, f)
		}
		length, sum, end := v.length, v.sum, v.end
		info, err := f.in.file.Stat() // it may have grown until the copy was made
		if err != nil {
			return false, f.fault(f.offset, err)
		}
		if length < 0 {
			if v.Info.Size() > info.Size() {
				continue
			}
			if length, sum, end, err = s.hashFile(ctx, v.Name); err != nil {
				if place.IsGone(err) {
					return true, nil // the next look sees what has become of it
				}
				return false, err
			}
		}
		same, err := s.hashBytes(ctx, f.in, length)
		if err != nil {
			return false, f.fault(f.offset, err)
		}
		if length > info.Size() || same != sum {
			continue
		}
		if v.open != nil { // it does not grow any more
			isCopy := length == info.Size() || length >= fingerprintSize
			if isCopy {
				_ = v.open.close()
				s.stats.FilesCopied++
			}
			return isCopy, nil
		}
		isWaiting := s.follow.wait(v, f, now, s.config.settlePeriod)
		p := s.follow.pending[v.Name]
		if length == info.Size() || length >= fingerprintSize {
			p.known = &knownFile{
				beginning:     hashBeginning(v.head),
				beginningSize: len(v.head),
				offset:        length,
				sum:           sum,
				isFinished:    true,
				hints:         hintsOf(v.Name, v.Info, now),
				isPresent:     true,
			}
			p.isTorn = end.isTorn(s.format)
			return true, nil
		}
		return isWaiting, nil // part of a copy, or a file of its own
	}
	return false, nil
}

// textEnd says how a text ends that is added part by part.
type textEnd struct {
	last   byte
	quotes int
}

func (e *textEnd) add(b []byte) {
	if len(b) > 0 {
		e.last = b[len(b)-1]
		e.quotes += bytes.Count(b, []byte{'"'})
	}
}

// isTorn returns true if the text may end in the middle of a record.
func (e *textEnd) isTorn(format Format) bool {
	return e.last != '\n' || format == CSV && e.quotes%2 != 0
}

// hashFile returns length and checksum of a file, and how it ends.
func (s *session) hashFile(ctx context.Context, name string) (int64, uint64, textEnd, error) {
	in, err := openInput(name)
	if err != nil {
		return 0, 0, textEnd{}, err
	}
	defer func() { _ = in.close() }()
	return s.hashInput(ctx, in, 1<<62)
}

// hashBytes returns the checksum of the first bytes of a plain file.
func (s *session) hashBytes(ctx context.Context, in *input, n int64) (uint64, error) {
	_, sum, _, err := s.hashInput(ctx, in, n)
	return sum, err
}

func (s *session) hashInput(ctx context.Context, in *input, limit int64) (int64, uint64, textEnd, error) {
	var digest xxhash.Digest
	digest.Reset()
	var end textEnd
	offset := int64(0)
	for offset < limit {
		if err := life.Ended(ctx); err != nil {
			return 0, 0, end, err
		}
		n, err := in.readAt(s.scratch[:min(int64(len(s.scratch)), limit-offset)], offset)
		_, _ = digest.Write(s.scratch[:n])
		end.add(s.scratch[:n])
		offset += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, 0, end, err
		}
	}
	return offset, digest.Sum64(), end, nil
}
