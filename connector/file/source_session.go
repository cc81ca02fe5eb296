package file

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

// errChanged means that what was read of a file is no longer there.
var errChanged = errors.New("what was read before is no longer there: the file was truncated or replaced")

// errBegun means that a file that was empty has got its first bytes.
var errBegun = errors.New("the file has begun")

// session is a source from Open to Teardown. Only one goroutine uses it at a time.
type session struct {
	config  *sourceConfig
	format  Format
	place   place.Place
	decoder *decoder
	window  window
	scratch []byte // for surveys
	batch   batch

	files    []*sourceFile // that are read, in this order
	turn     int           // followed: the index of the file to be read next
	finished []*knownFile  // the oldest one first
	orphans  []*orphan
	locks    fileLocks   // of WithoutWriters
	fresh    *identifier // of those that were finished since Open; nil if there are none

	record uint64 // the number of the last record
	bytes  int64  // that were read

	head          []byte // of the positions of headOf
	headSum       uint64
	headOf        *sourceFile
	headBeginning int // size of the beginning that the head describes

	follow followState
	stats  SourceStats
	report func(stats SourceStats, record uint64, isIdle bool)
	err    error // why there is no more
}

// orphan is a file that was read in part and is no longer where it was.
type orphan struct {
	*knownFile
	path     string    // where it was
	lost     int64     // bytes that were there and were not read
	deadline time.Time // until when a copy is waited for, while following
}

// newSession returns a session that goes on where the state says.
func newSession(config *sourceConfig, format Format, at place.Place, state readState, report func(SourceStats, uint64, bool)) *session {
	s := &session{
		config:  config,
		format:  format,
		place:   at,
		decoder: newDecoder(format, config.comma),
		batch:   batch{maxRecords: config.batchRecords, maxBytes: config.batchBytes},
		scratch: make([]byte, 64<<10),
		record:  state.record,
		bytes:   state.bytes,
		report:  report,
	}
	for _, k := range state.known {
		known := *k
		if k.isFinished {
			s.finished = append(s.finished, &known)
		} else {
			s.orphans = append(s.orphans, &orphan{knownFile: &known, path: k.name})
		}
	}
	return s
}

// Read returns the next records.
func (s *session) Read(ctx context.Context) ([]opencdc.Record, error) {
	for s.err == nil {
		if err := life.Ended(ctx); err != nil {
			return nil, err
		}
		if s.config.isFollowed {
			s.fail(ctx, s.lookIfDue(ctx))
		}
		b := &s.batch
		b.reset()
		if s.err == nil {
			s.fail(ctx, s.collect(ctx, b))
		}
		s.publish(len(b.records) == 0 && s.err == nil)
		switch {
		case len(b.records) > 0:
			return b.finish(), nil
		case s.err != nil:
		case life.Ended(ctx) != nil:
			return nil, life.Ended(ctx)
		case !s.config.isFollowed:
			s.err = io.EOF
		default:
			s.wait(ctx)
		}
	}
	return nil, s.err
}

// publish makes the figures known. isIdle says that all that could be read was.
func (s *session) publish(isIdle bool) {
	stats := &s.stats
	stats.BytesRead = s.bytes
	stats.BytesKnown = s.bytes
	for _, f := range s.files {
		stats.BytesRead += f.offset - f.counted
		stats.BytesKnown += max(f.offset, f.info.Size()) - f.counted
	}
	s.report(*stats, s.record, isIdle)
}

// Close closes all files, and unlocks them after that.
func (s *session) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.close())
	}
	if s.follow.watcher != nil {
		errs = append(errs, s.follow.watcher.close())
	}
	return errors.Join(append(errs, s.locks.release())...)
}

// fail records an error that ends the session. The end of the context is none.
func (s *session) fail(ctx context.Context, err error) {
	if err != nil && life.Ended(ctx) == nil {
		s.err = err
	}
}

// collect adds records to the batch until it is full or there is nothing more to read now.
func (s *session) collect(ctx context.Context, b *batch) error {
	for !b.isFull() {
		if err := life.Ended(ctx); err != nil {
			return err
		}
		f := s.next()
		if f == nil {
			return nil
		}
		isReady, err := s.start(ctx, f)
		if err == nil && isReady {
			err = s.readFile(ctx, f, b)
		}
		if err != nil {
			return err
		}
	}
	s.turn++ // so that no file keeps the others waiting
	return nil
}

// next returns the file to be read next, or nil if there is none.
func (s *session) next() *sourceFile {
	if !s.config.isFollowed {
		if len(s.files) == 0 {
			return nil
		}
		return s.files[0]
	}
	if f := s.window.owner; f != nil && !f.in.isPlain() {
		return f // what was decompressed would have to be decompressed again
	}
	for i := range s.files {
		f := s.files[(s.turn+i)%len(s.files)]
		if f.after != nil && (f.after.isIdle || !slices.Contains(s.files, f.after)) {
			f.after = nil
		}
		if !f.isIdle && f.after == nil {
			s.turn = (s.turn + i) % len(s.files)
			return f
		}
	}
	return nil
}

// switchTo gives the window to a file.
func (s *session) switchTo(f *sourceFile) {
	if s.window.owner == f {
		return
	}
	s.leaveWindow()
	s.window.load(f, f.offset)
	f.enter(&s.window)
	f.scanner.Reset()
}

func (s *session) leaveWindow() {
	if f := s.window.owner; f != nil {
		f.leave(&s.window)
	}
}

// remove takes a file out of those that are read, and closes it.
func (s *session) remove(f *sourceFile) {
	s.detach(f)
	_ = f.close() // nothing was written
}

// detach takes a file out of those that are read.
func (s *session) detach(f *sourceFile) {
	if s.window.owner == f {
		s.window.owner = nil
	}
	if i := slices.Index(s.files, f); i >= 0 {
		s.files = slices.Delete(s.files, i, i+1)
		if i < s.turn {
			s.turn--
		}
	}
	if len(s.files) > 0 {
		s.turn %= len(s.files)
	}
	s.headOf = nil
}

// finish remembers a file that was read to its end.
func (s *session) finish(k *knownFile) {
	s.headOf = nil
	if k.offset == 0 {
		return // nothing to remember
	}
	s.finished = append(s.finished, k)
	if s.fresh == nil {
		s.fresh = newIdentifier(nil, s.scratch)
	}
	s.fresh.add(k)
	s.follow.generation++
}

// maxVanished is the number of finished files that are remembered although they are gone.
const maxVanished = 1000

// forget forgets the oldest of the finished files that are gone.
func (s *session) forget() {
	gone := 0
	for _, k := range s.finished {
		if !k.isPresent {
			gone++
		}
	}
	if gone <= maxVanished {
		return
	}
	s.headOf = nil
	s.finished = slices.DeleteFunc(s.finished, func(k *knownFile) bool {
		if k.isPresent || gone <= maxVanished {
			return false
		}
		gone--
		return true
	})
	if s.fresh != nil {
		s.fresh = newIdentifier(s.finished, s.scratch)
	}
}

// vanished counts and logs bytes that were not read before they vanished.
func (s *session) vanished(ctx context.Context, name string, offset, lost int64) {
	s.stats.BytesVanished += lost
	s.config.logger.Warn(ctx).Str("path", name).Int64("offset", offset).Int64("bytes", lost).
		Msg("a file vanished, was truncated or replaced before it was read to its end")
}

// makeHead makes the head of the positions of a file.
func (s *session) makeHead(f *sourceFile) {
	if s.headOf == f && s.headBeginning == len(f.beginning) {
		return
	}
	now := time.Now()
	current := f.known(false, now)
	known := append(make([]*knownFile, 0, len(s.finished)+len(s.files)+len(s.orphans)), s.finished...)
	for _, other := range s.files {
		if other != f && other.offset > 0 {
			known = append(known, other.state(now))
		}
	}
	for _, o := range s.orphans {
		known = append(known, o.knownFile)
	}
	s.head = appendHead(s.head[:0], s.format, known, current)
	s.headSum = xxhash.Sum64(s.head)
	s.headOf, s.headBeginning = f, len(f.beginning)
}
