package funneltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/deepcopy"
)

// memoryLog is what a memorySource reads.
type memoryLog struct {
	mu      sync.Mutex
	records []opencdc.Record
	acked   int // the first record that is not acked
}

// ack says that the first n records are acked.
func (l *memoryLog) ack(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = n
}

// memorySource reads a log, three records at a time. At the end of the log it waits or
// ends. Its locks are channels, so that waiting for them lets the time of a bubble pass.
type memorySource struct {
	lifecycle
	log   *memoryLog
	waits bool

	lock     chan struct{}
	opened   int
	torn     chan struct{}
	next     int
	hasEnded bool // a Read has returned io.EOF
	all      []opencdc.Record
	first    []opencdc.Record // what the first Read has returned
	places   map[*byte]bool   // the positions that were returned
}

func newMemorySource(t testing.TB, log *memoryLog, fault string, waits bool) *memorySource {
	return &memorySource{lifecycle: newLifecycle(t, fault), log: log, waits: waits, lock: make(chan struct{}, 1), places: make(map[*byte]bool)}
}

// sourceConformance is the configuration for sources with a fault.
func sourceConformance(fault string, waits bool) SourceConformance {
	c := SourceConformance{
		New: func(t testing.TB) funnel.Source {
			log := &memoryLog{records: numbered(10)}
			switch fault {
			case "empty position":
				log.records[3].Position = nil
			case "same position":
				log.records[8].Position = log.records[7].Position
			case "too few":
				log.records = log.records[:9]
			}
			return newMemorySource(t, log, fault, waits)
		},
		AckDuringRead: true,
	}
	if fault == "opens once" {
		c.Reopen = func(t testing.TB, old funnel.Source) funnel.Source {
			return newMemorySource(t, old.(*memorySource).log, fault, waits)
		}
	}
	return c
}

func (s *memorySource) Open(ctx context.Context) error {
	if err := s.lifecycle.Open(ctx); err != nil {
		return err
	}
	s.opened++
	s.torn = make(chan struct{})
	s.hasEnded = false
	s.next = s.log.acked
	s.all = nil
	for _, rec := range s.log.records {
		c, err := deepcopy.Record(rec)
		if err != nil {
			return err
		}
		if raw, ok := rec.Payload.After.(opencdc.RawData); ok && s.fault == "shares bytes with what it keeps" {
			c.Payload.After = raw
		}
		s.all = append(s.all, c)
	}
	switch {
	case s.fault == "reads an acked record again" && s.opened == 2 && s.next%10 > 0,
		s.fault == "reads an acked record again later" && s.opened == 3 && s.next > 0:
		s.next--
	case s.fault == "skips a record after reopening" && s.next > 0:
		s.next++
	case s.fault == "other order" && s.opened > 1:
		s.all[7], s.all[8] = s.all[8], s.all[7]
	}
	return nil
}

func (s *memorySource) Read(ctx context.Context) ([]opencdc.Record, error) {
	switch s.fault {
	case "panics":
		panic(errTest)
	case "exits":
		runtime.Goexit()
	case "fails":
		return nil, errTest
	case "is empty":
		return nil, nil
	case "is slow": // which is allowed
		time.Sleep(600 * time.Millisecond)
	}
	select {
	case <-s.torn:
		if s.fault != "blocks after teardown" {
			return nil, errors.New("the source is torn down")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case <-ctx.Done():
		if s.fault == "moves when cancelled" {
			s.log.ack(s.next)
		}
		return nil, ctx.Err()
	default:
	}
	if s.next >= len(s.all) {
		return nil, s.end(ctx)
	}
	end := min(s.next+3, len(s.all))
	recs := s.all[s.next:end:end]
	switch s.fault {
	case "returns what it keeps":
		recs = s.log.records[s.next:end:end]
	case "gives spare capacity away":
		recs = s.all[s.next:end]
	}
	switch s.fault {
	case "moves when reading":
		s.log.ack(end)
	case "tells acks by their addresses":
		s.log.mu.Lock()
		for i := range recs {
			s.places[&recs[i].Position[0]] = true
		}
		s.log.mu.Unlock()
	}
	s.next = end
	if s.first == nil {
		s.first = recs
	}
	switch {
	case s.fault == "ends by a wrapped EOF" && end == len(s.all):
		return recs, fmt.Errorf("the last ones: %w", io.EOF)
	case s.fault == "ends with its last records" && end == len(s.all): // which is allowed
		s.hasEnded = true
		return recs, io.EOF
	}
	return recs, nil
}

// end waits at the end of the log, or ends the source.
func (s *memorySource) end(ctx context.Context) error {
	switch {
	case s.hasEnded:
		return errTest
	case !s.waits:
		return io.EOF
	case s.fault == "polls": // which is allowed
		return nil
	}
	if s.fault == "holds the lock while it waits" {
		s.lock <- struct{}{}
		defer func() { <-s.lock }()
	}
	torn, done := s.torn, ctx.Done()
	switch s.fault {
	case "teardown does not unblock":
		torn = nil
	case "ignores the context":
		done = nil
	}
	select {
	case <-torn:
		return errors.New("torn down")
	case <-s.release:
		return errTest
	case <-done:
		switch s.fault {
		case "another error for a context":
			return errTest
		case "EOF for a context":
			return io.EOF
		}
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
}

func (s *memorySource) Ack(_ context.Context, positions []opencdc.Position) error {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-s.release:
		return errTest
	}
	last := positions[len(positions)-1]
	clear(positions) // they belong to the source
	place, err := strconv.Atoi(string(last))
	if err != nil {
		return err
	}
	switch s.fault {
	case "tells acks by their addresses":
		s.log.mu.Lock()
		defer s.log.mu.Unlock()
		if !s.places[&last[0]] {
			return errTest
		}
		s.log.acked = place + 1
		return nil
	case "changes returned records":
		s.first[0].Metadata["acked"] = "true"
	case "uses the slice again":
		s.first[0] = opencdc.Record{}
	case "writes to positions":
		last[0] = '0'
	case "does not store the last ack":
		if place == len(s.log.records)-1 {
			return nil
		}
	}
	s.log.ack(place + 1)
	return nil
}

func (s *memorySource) Teardown(ctx context.Context) error {
	if err := s.lifecycle.Teardown(ctx); err != nil {
		return err
	}
	close(s.torn)
	if s.fault == "has a goroutine that ends late" { // which is allowed
		go time.Sleep(time.Second)
	}
	return nil
}

// A source that keeps the contract has no findings, whether it waits or ends.
func TestSource_reference(t *testing.T) {
	t.Run("waits", func(t *testing.T) {
		c := sourceConformance("", true)
		c.Timeout = 4 * time.Second
		TestSource(t, c)
	})
	for _, ackDuringRead := range []bool{true, false} {
		t.Run(fmt.Sprintf("ends/ack_during_read_%t", ackDuringRead), func(t *testing.T) {
			wantFindings(t, func() *conformSuite {
				c := sourceConformance("", false)
				c.AckDuringRead = ackDuringRead
				return c.suite()
			})
		})
	}
	for _, habit := range []string{"polls", "is slow", "has a goroutine that ends late"} {
		t.Run(strings.ReplaceAll(habit, " ", "_"), func(t *testing.T) {
			wantFindings(t, func() *conformSuite { return sourceConformance(habit, true).suite() })
		})
	}
	t.Run("ends_with_its_last_records", func(t *testing.T) {
		wantFindings(t, func() *conformSuite { return sourceConformance("ends with its last records", false).suite() })
	})
	t.Run("one_call_at_a_time", func(t *testing.T) {
		wantFindings(t, func() *conformSuite {
			c := sourceConformance("holds the lock while it waits", true)
			c.AckDuringRead = false
			return c.suite()
		})
	})
}

// Each fault is found by the checks that are about it, and by no other.
func TestSource_faults(t *testing.T) {
	testFaults(t, func(fault string) *conformSuite { return sourceConformance(fault, true).suite() }, lifecycleFaults(
		brokenConnector{"empty position", []string{"positions_are_not_empty"}},
		brokenConnector{"same position", []string{"positions_differ"}},
		brokenConnector{"other order", []string{"order_is_the_same_after_reopening"}},
		brokenConnector{"skips a record after reopening", []string{"unacked_records_are_read_again"}},
		brokenConnector{"reads an acked record again", []string{"acked_records_are_not_read_again", "acks_are_told_by_their_bytes"}},
		brokenConnector{"reads an acked record again later", []string{"acked_records_are_not_read_again"}},
		brokenConnector{"does not store the last ack", []string{"everything_can_be_acked", "ack_returns_during_a_pending_read"}},
		brokenConnector{"tells acks by their addresses", []string{"acks_are_told_by_their_bytes"}},
		brokenConnector{"changes returned records", []string{"returned_records_are_left_alone"}},
		brokenConnector{"uses the slice again", []string{"returned_records_are_left_alone"}},
		brokenConnector{"returns what it keeps", []string{"returned_records_are_not_returned_again"}},
		brokenConnector{"shares bytes with what it keeps", []string{"returned_records_are_not_returned_again"}},
		brokenConnector{"gives spare capacity away", []string{"returned_records_are_not_returned_again"}},
		brokenConnector{"teardown does not unblock", []string{
			"teardown_unblocks_a_pending_read", "everything_can_be_acked", "ack_returns_during_a_pending_read"}},
		brokenConnector{"blocks after teardown", []string{"read_after_teardown_returns"}},
		brokenConnector{"ignores the context", []string{"pending_read_obeys_its_context"}},
		brokenConnector{"another error for a context", []string{"pending_read_obeys_its_context"}},
		brokenConnector{"EOF for a context", []string{"pending_read_obeys_its_context"}},
		brokenConnector{"moves when cancelled", []string{"cancelled_read_loses_nothing"}},
		brokenConnector{"moves when reading", []string{
			"order_is_the_same_after_reopening", "unacked_records_are_read_again",
			"returned_records_are_not_returned_again", "cancelled_read_loses_nothing"}},
		brokenConnector{"holds the lock while it waits", []string{"ack_returns_during_a_pending_read", "everything_can_be_acked"}},
	))
}
