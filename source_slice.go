package funnel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
)

// maxSliceRead is the maximum number of records that a Read of a slice source returns.
const maxSliceRead = 1000

// SliceSource returns a source of the given records, in order, for tests and small jobs.
//
// Read returns the next 1,000 records or, together with [io.EOF], those that are left. A
// record without a position gets its index as its position: "0", "1" and so on. The
// source remembers which records were acked. When it is opened again, it resumes at the
// first record that was not, as a source with a stored position does. Ack returns an
// error if a position is not the next one due. After Teardown, Read returns an error
// until the source is opened again. ID returns "", and Errors a nil channel.
//
// SliceSource copies the slice, so the caller may reuse it. The caller must not change
// the data in the records while the source is in use. Read returns deep copies, so a
// change by a processor shows neither in the caller's records nor when records are read
// again. A copy takes time linear in the size of the record, a few microseconds for a
// row of ten columns. If a record is nested too deeply to be copied, Read returns a fatal
// error that wraps [ErrTooDeep].
//
// All methods may be called at any time from any goroutine.
func SliceSource(records ...opencdc.Record) Source {
	s := &sliceSource{records: slices.Clone(records)}
	for i := range s.records {
		if len(s.records[i].Position) == 0 {
			s.records[i].Position = opencdc.Position(strconv.Itoa(i))
		}
	}
	return s
}

type sliceSource struct {
	anonymous
	records []opencdc.Record // never changed

	mu         sync.Mutex
	isTornDown bool
	acked      int // how many of the first records were acked
	next       int // the record that is read next
}

func (s *sliceSource) Open(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isTornDown = false
	s.next = s.acked
	return nil
}

func (s *sliceSource) Read(context.Context) ([]opencdc.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isTornDown {
		return nil, errTornDown
	}
	n := min(len(s.records)-s.next, maxSliceRead)
	read := make([]opencdc.Record, 0, n)
	for i := range n {
		record, err := deepcopy.Record(s.records[s.next+i])
		if err != nil && i > 0 {
			break // the next read reports it
		}
		if err != nil {
			return nil, FatalError(fmt.Errorf("record %d, %s, cannot be copied: %w", s.next, quotePosition(s.records[s.next].Position), err))
		}
		read = append(read, record)
	}
	s.next += len(read)
	if s.next == len(s.records) {
		return read, io.EOF
	}
	return read, nil
}

func (s *sliceSource) Ack(_ context.Context, positions []opencdc.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range positions {
		if s.acked == s.next {
			return fmt.Errorf("position %s was acked, but the %d records that were read are acked already", quotePosition(p), s.next)
		}
		if due := s.records[s.acked].Position; !bytes.Equal(p, due) {
			return fmt.Errorf("position %s was acked, but %s is due, that of record %d", quotePosition(p), quotePosition(due), s.acked)
		}
		s.acked++
	}
	return nil
}

func (s *sliceSource) Teardown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isTornDown = true
	return nil
}
