package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

// errChanged means that another file stands at the path of a file that was read in part.
var errChanged = errors.New("the file was replaced after it was read in part")

// session is a source from Open to Teardown. Only one goroutine uses it at a time.
type session struct {
	config  *config
	ctx     context.Context // of the current call
	scratch []byte
	batch   batch

	isOne    bool            // the path is that of a single file
	files    []*sourceFile   // the unfinished files, in the order of reading
	finished []*finishedFile // the oldest one first
	alike    map[identity][]*finishedFile
	orphans  []partlyRead // files that were read in part and are not found (any more)

	record uint64 // the number of the last record
	known  int64  // unread rows in files

	head    []byte // the head of the positions of the first file, or nil
	headSum uint64

	stats  SourceStats
	report func(SourceStats)
	err    error // the error that each further Read returns
}

// sourceFile is a file that is to be read.
type sourceFile struct {
	name     string
	id       identity
	stamp    stamp
	checksum checksum // of the content with this stamp
	row      int64    // rows that were read
	rows     int64    // all rows
	err      error    // why it cannot be read
	reader   *reader
}

// newSession returns a session that continues from a state.
func newSession(config *config, state readState, report func(SourceStats)) *session {
	s := &session{
		config:  config,
		scratch: make([]byte, 64<<10),
		batch:   batch{maxRecords: config.batchRecords, maxBytes: config.batchBytes},
		alike:   make(map[identity][]*finishedFile),
		orphans: state.unfinished,
		record:  state.record,
		report:  report,
	}
	for _, k := range state.finished {
		s.addFinished(k)
	}
	return s
}

// Read returns the next records.
func (s *session) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.ctx = ctx
	b := &s.batch
	b.reset()
	err := s.collect(b)
	if err != nil && life.Ended(ctx) == nil {
		s.err = err
	}
	s.publish()
	if len(b.records) > 0 {
		return b.finish(), nil
	}
	return nil, err
}

// collect adds records to the batch until it is full. It returns io.EOF if there are no more
// records.
func (s *session) collect(b *batch) error {
	for !b.isFull() {
		if err := s.ended(); err != nil {
			return err
		}
		if len(s.files) == 0 {
			return io.EOF
		}
		f := s.files[0]
		isReady, err := s.start(f)
		if err == nil && isReady {
			err = s.readFile(f, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ended returns the error of the current context if it has ended.
func (s *session) ended() error { return life.Ended(s.ctx) }

// start opens a file, unless it is open. It returns false, and drops the file, if that has
// vanished or is a copy of a finished one.
func (s *session) start(f *sourceFile) (bool, error) {
	if f.err != nil {
		return false, f.fault(f.err)
	}
	if f.reader == nil {
		r, err := openReader(f.name, s.scratch, s.ended)
		switch {
		case err != nil && place.IsGone(err) && !s.isOne:
			s.vanished(f.partlyRead())
			s.drop(f)
			return false, nil
		case err != nil:
			return false, s.fail(f, err)
		}
		if f.row > 0 && r.id != f.id {
			return false, errors.Join(f.fault(errChanged), r.close())
		}
		if f.row > 0 && r.stamp.hash != f.stamp.hash {
			return false, errors.Join(f.fault(errUnsteady), r.close())
		}
		s.known += r.numRows() - f.rows
		f.found(r)
		f.reader = r
		r.seek(f.row)
		s.head = nil
	}
	if f.row > 0 {
		return true, nil
	}
	isCopy, err := s.isFinished(f, f.reader.file)
	switch {
	case err != nil:
		return false, s.fail(f, err)
	case !isCopy:
		return true, nil
	}
	r := f.reader
	f.reader = nil
	s.stats.FilesCopied++
	s.drop(f)
	return false, r.close()
}

// found copies what a reader knows about a file. The checksum begins again, unless the file is
// certainly unchanged.
func (f *sourceFile) found(r *reader) {
	f.id, f.rows = r.id, r.numRows()
	if r.stamp != f.stamp || !r.stamp.isSettled {
		f.stamp, f.checksum = r.stamp, newChecksum(0)
	}
}

// readFile reads rows of a file until the batch is full or the file ends. It completes the
// checksum before it reads the last row, since the position of that row holds the checksum.
func (s *session) readFile(f *sourceFile, b *batch) error {
	last := f.rows - 1
	to := f.reader.passed()
	if f.row == last {
		to = f.id.size
	}
	if err := s.extendChecksum(f, f.reader.file, to); err != nil {
		return s.fail(f, err)
	}
	s.makeHead(f)
	err := f.reader.read(func(row map[string]any, size int) bool {
		f.row++
		s.record++
		s.known--
		tail := positionTail{record: s.record, row: f.row}
		if f.row == f.rows {
			tail.isLast, tail.sum, tail.seal = true, f.checksum.digest.Sum64(), f.stamp.seal(f.name)
		}
		b.positions = append(b.positions, s.head...)
		b.positions = appendTail(b.positions, s.headSum, tail)
		b.add(f.name, row, f.row, size)
		return !b.isFull() && f.row != last && s.ended() == nil
	})
	switch err {
	case nil:
		return nil
	case io.EOF:
		return s.finish(f)
	}
	_ = f.reader.close() // nothing was written
	f.reader = nil       // it may stand anywhere; the next Read opens the file again, at the row
	return s.fail(f, err)
}

// fail returns the error of the current context if it has ended, and otherwise an error about
// the next row of a file.
func (s *session) fail(f *sourceFile, err error) error {
	if err := s.ended(); err != nil {
		return err
	}
	return f.fault(err)
}

// fault returns an error about the next row of a file.
func (f *sourceFile) fault(err error) error {
	return fmt.Errorf("file %q, row %d: %w", f.name, f.row+1, err)
}

// finish remembers a file that was read to its end.
func (s *session) finish(f *sourceFile) error {
	r := f.reader
	f.reader = nil
	s.stats.FilesFinished++
	if f.rows > 0 {
		s.addFinished(f.finished())
	}
	s.drop(f)
	return r.close()
}

// drop removes f, which is the first file, from the files to read.
func (s *session) drop(f *sourceFile) {
	s.known -= f.rows - f.row
	s.files = s.files[1:]
	s.head = nil
}

// vanished counts and logs a file that vanished before it was read to its end.
func (s *session) vanished(k partlyRead) {
	s.stats.FilesVanished++
	s.stats.RowsVanished += uint64(k.rows - k.row)
	s.config.logger.Warn(s.ctx).Str("path", k.name).Int64("row", k.row).Int64("rows", k.rows).
		Msg("a file vanished before it was read to its end")
	if k.name = ""; k.row > 0 {
		s.orphans = append(s.orphans, k)
	}
}

// makeHead makes the head of the positions of a file, unless there is one.
func (s *session) makeHead(f *sourceFile) {
	if s.head != nil {
		return
	}
	others := append([]partlyRead(nil), s.orphans...)
	for _, other := range s.files {
		if other != f && other.row > 0 {
			others = append(others, other.partlyRead())
		}
	}
	current := f.partlyRead()
	s.head = appendHead(nil, s.finished, others, &current)
	s.headSum = xxhash.Sum64(s.head)
}

// publish makes the figures known.
func (s *session) publish() {
	s.stats.RowsRead = s.record
	s.stats.RowsKnown = s.record + uint64(s.known)
	s.report(s.stats)
}

// Close closes all files.
func (s *session) Close() error {
	var errs []error
	for _, f := range s.files {
		if f.reader != nil {
			errs = append(errs, f.reader.close())
		}
	}
	return errors.Join(errs...)
}
