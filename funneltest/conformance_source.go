package funneltest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/conduitio/funnel"
)

// SourceConformance says how [TestSource] gets sources, and what they can do.
type SourceConformance struct {
	// New returns a source that was not opened yet, with storage of its own. The storage
	// holds at least Records records, and nothing of it is acked. New may end the test,
	// for example by t.Fatal, and start a server that t.Cleanup stops. It is called on the
	// goroutine of the subtest, at least once in each.
	New func(t testing.TB) funnel.Source
	// Reopen returns a source over the storage of old that resumes after the last record
	// that old acked, as after a restart of the program. old was torn down. If Reopen is
	// nil, old itself is opened again.
	Reopen func(t testing.TB, old funnel.Source) funnel.Source
	// Records is the number of records that a new source has, or a lower number. The source
	// returns that many before any of them is acked. It must be at least 4. The default is
	// 10. The source may have more, may wait for more, and may end.
	Records int
	// AckDuringRead says that Ack may be called during Read, as it is with the option
	// [funnel.WithReadAhead].
	AckDuringRead bool
	// Skip holds the names of the subtests to leave out.
	Skip []string
	// Timeout is the time that each subtest has. The default is 10 s. A source that returns
	// nothing for a twentieth of this time counts as waiting for new records.
	Timeout time.Duration
}

// TestSource tests that a source keeps the contract of [funnel.Source]. It runs a subtest
// for each promise, with a new source. A subtest that fails prints what was seen, the
// promise, and what to do about it.
//
// Skip leaves subtests out by their names, which go test -v lists. A name that does not
// exist fails the test. A subtest that finds nothing to check is skipped and says why: for
// example, a source that ends by io.EOF has no read that waits.
//
// A call that panics fails its subtest, and so does a call that does not return in time.
// The goroutine of such a call is abandoned and may run until the program ends.
//
// Under the race detector, TestSource also finds data races between the calls that may
// overlap: Read and Teardown and, with AckDuringRead, Read and Ack. If the source ends, or
// has more records than are read, TestSource takes a few milliseconds; if the source waits,
// it takes a few twentieths of Timeout.
func TestSource(t *testing.T, s SourceConformance) {
	t.Helper()
	s.suite().test(t)
}

const (
	conformDefaultRecords = 10
	conformMinRecords     = 4
)

// suite returns the checks of a source.
func (s SourceConformance) suite() *conformSuite {
	suite := &conformSuite{name: "TestSource", skip: s.Skip, timeout: s.Timeout}
	switch {
	case s.New == nil:
		suite.err = errors.New("the function New is missing")
	case s.Records == 0:
		s.Records = conformDefaultRecords
	case s.Records < conformMinRecords:
		suite.err = fmt.Errorf("the number of Records is %d, at least %d are needed", s.Records, conformMinRecords)
	}
	checks := conformSource{s}
	noAckDuringRead := ""
	if !s.AckDuringRead {
		noAckDuringRead = "AckDuringRead is not set"
	}
	suite.checks = append([]conformCheck{
		{
			name:    "positions_are_not_empty",
			promise: "Each record has a position that is not empty. A record without one stops the worker: acked, it would wipe the place from which the source resumes.",
			advice:  "Put into each position what the source needs to resume after the record, for example an offset, as bytes.",
			run:     checks.positionsAreNotEmpty,
		},
		{
			name:    "positions_differ",
			promise: "Each record has a position of its own, since its ack consists of the position alone.",
			advice:  "Add to the position what tells the records apart, for example the index within a file or a transaction.",
			run:     checks.positionsDiffer,
		},
		{
			name:    "order_is_the_same_after_reopening",
			promise: "A source that is opened again, with nothing acked, returns the same positions in the same order. Acks come in the order of reading, so a source that resumes after an acked record must return the rest in that order again.",
			advice:  "Read from a log, or sort by the fields that make up the position. If records of several partitions come in any order, leave this subtest out.",
			run:     checks.orderIsTheSame,
		},
		{
			name:    "unacked_records_are_read_again",
			promise: "A source that is opened again returns every record that was not acked. A record that was read is not yet done: the worker may have stopped before the record was delivered.",
			advice:  "Resume after the last acked position, not after the last one that was read. Store the position in Ack, not in Read or Teardown.",
			run:     checks.unackedAreReadAgain,
		},
		{
			name:    "acked_records_are_not_read_again",
			promise: "A source that is opened again does not return records that were acked before it was torn down, whether in calls of one position or of several.",
			advice:  "Store the last position of each Ack, and finish storing in Teardown at the latest. Resume after that record, not at it.",
			run:     checks.ackedAreNotReadAgain,
		},
		{
			name:    "everything_can_be_acked",
			promise: "All records can be acked, up to the last one, even when the source waits for more records or has returned io.EOF. None of them is read again.",
			advice:  "Do not expect records after an acked one, neither in Ack nor when the source is opened again.",
			run:     checks.everythingCanBeAcked,
		},
		{
			name:    "acks_are_told_by_their_bytes",
			promise: "Ack gets the positions that Read has returned, or copies of them, in a slice of any capacity.",
			advice:  "Compare positions with bytes.Equal, not by their addresses. Parse the bytes.",
			run:     checks.acksAreToldByTheirBytes,
		},
		{
			name:    "returned_records_are_left_alone",
			promise: "The engine owns the slice that Read has returned, and the records in it. The source does not write to them anymore, and nobody ever writes to the bytes of a position.",
			advice:  "Allocate the slice, the maps and the bytes anew in each Read. If you reuse a buffer, copy from it.",
			run:     checks.returnedRecordsAreLeftAlone,
		},
		{
			name:    "returned_records_are_not_returned_again",
			promise: "The engine and processors write to the slice that Read has returned, up to its capacity, and to the contents of its records. These changes do not show in later reads, nor in reads after the source is opened again.",
			advice:  "Return copies of records that the source keeps, in a slice that is a copy, too. Share no maps between records of different reads. Note that opencdc's Clone does not copy lists and bytes inside structured data.",
			run:     checks.returnedRecordsAreNotReturnedAgain,
		},
		{
			name:    "teardown_unblocks_a_pending_read",
			promise: "Teardown is called during a Read that waits for records. Both return. This is how a worker stops.",
			advice:  "Close a channel in Teardown, or cancel a context, and select on it in Read. While Read waits, hold no lock that Teardown needs.",
			run:     checks.teardownUnblocks,
		},
		{
			name:    "read_after_teardown_returns",
			promise: "A Read that begins after Teardown does not block. A worker that is being stopped may call it, and drops what it returns.",
			advice:  "At the beginning of Read, check whether the source was torn down, and return an error. Reset this in Open.",
			run:     checks.readAfterTeardownReturns,
		},
		{
			name:    "pending_read_obeys_its_context",
			promise: "A Read that waits for records returns when its context ends. Its error is the context's error, or wraps it. io.EOF would say that there are no more records.",
			advice:  "Select on ctx.Done() wherever Read waits, and return ctx.Err(), wrapped or not.",
			run:     checks.pendingReadObeysItsContext,
		},
		{
			name:    "cancelled_read_loses_nothing",
			promise: "When the context of a Read ends, no record is lost: once the source is opened again, it returns all unacked records.",
			advice:  "Do not store how far Read has come. Only Ack moves the place from which the source resumes.",
			run:     checks.cancelledReadLosesNothing,
		},
		{
			name:    "ack_returns_during_a_pending_read",
			promise: "With AckDuringRead set, Ack may be called during Read, even while Read waits for records. Both work as they do alone.",
			advice:  "Protect what both use with a lock that Read does not hold while it waits. Run the test with -race.",
			missing: noAckDuringRead,
			run:     checks.ackReturnsDuringRead,
		},
	}, conformLifecycle{
		fresh: func(r *conformRun) conformConnector { return checks.fresh(r) },
		use:   checks.use,
		leave: checks.leave,
	}.checks()...)
	return suite
}
