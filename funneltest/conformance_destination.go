package funneltest

import (
	"errors"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// DestinationConformance says how [TestDestination] gets destinations, and what they can
// do.
type DestinationConformance struct {
	// New returns a destination that was not opened yet, with storage of its own, which is
	// empty. New may end the test, for example by t.Fatal. It is called on the goroutine
	// of the subtest, at least once in each.
	New func(t testing.TB) funnel.Destination
	// Record returns record i, from 0, of the records to write. The destination must accept
	// it. Each call must return new memory, and each i a different position; an empty
	// position is replaced. By default the records have raw and structured data.
	Record func(i int) opencdc.Record
	// Refused returns a record that the destination refuses: its ack has an error. If
	// Refused is nil, the subtest about refusals is skipped.
	Refused func() opencdc.Record
	// Stored returns the records that d, which is open, has stored, in the order of their
	// arrival and with their positions. Other fields are compared unless they are zero;
	// keys and payloads are compared by their bytes. If Stored is nil, it is not checked
	// what d has stored.
	Stored func(t testing.TB, d funnel.Destination) []opencdc.Record
	// Skip holds the names of the subtests to leave out.
	Skip []string
	// Timeout is the time that each subtest has. The default is 10 s. An Ack that is
	// pending for a twentieth of this time counts as waiting.
	Timeout time.Duration
}

// TestDestination tests that a destination keeps the contract of [funnel.Destination]. It
// runs a subtest for each promise, with a new destination, in the manner of [TestSource].
//
// Under the race detector, TestDestination also finds a destination whose own goroutine
// writes to records, or reads a slice that the destination must not keep.
func TestDestination(t *testing.T, d DestinationConformance) {
	t.Helper()
	d.suite().test(t)
}

// suite returns the checks of a destination.
func (d DestinationConformance) suite() *conformSuite {
	suite := &conformSuite{name: "TestDestination", skip: d.Skip, timeout: d.Timeout}
	if d.New == nil {
		suite.err = errors.New("the function New is missing")
	}
	if d.Record == nil {
		d.Record = conformRecord
	}
	var noStored, noRefused string
	if d.Stored == nil {
		noStored = "Stored is not set"
	}
	if d.Refused == nil {
		noRefused = "Refused is not set"
	}
	checks := conformDestination{d}
	suite.checks = append([]conformCheck{
		{
			name:    "acks_one_record",
			promise: "A record that is written alone gets one ack, with its position.",
			advice:  "Do not wait for more records before writing a batch: Write is not called again before all records are acked.",
			run:     checks.acksOneRecord,
		},
		{
			name:    "acks_many_records",
			promise: "Each record of a Write gets one ack with its position, in the order of the records. Ack may return them in portions.",
			advice:  "Queue the positions in Write, and return acks in that order, even if records are stored in another. Return each ack once, and no others.",
			run:     checks.acksManyRecords,
		},
		{
			name:    "acks_several_writes",
			promise: "Write is called again once all records of the last Write are acked. Acks of one Write never come after another.",
			advice:  "Forget the acks that were returned. At the beginning of each Write, clear everything that is left from the last one.",
			run:     checks.acksSeveralWrites,
		},
		{
			name:    "acks_records_that_share_a_position",
			promise: "The pieces of a split record may have the same position. Even so, each piece gets its own ack.",
			advice:  "Keep acks in a slice, not in a map by position. If positions are keys of the storage, use a key that tells the pieces apart.",
			run:     checks.acksSharedPositions,
		},
		{
			name:    "acks_records_with_any_position",
			promise: "A position is any bytes, and only its source knows what they mean. Those of many sources are not text.",
			advice:  "Do not put positions where only text is allowed, such as a header of HTTP, and do not use them as keys: use the key of the record.",
			run:     checks.acksAnyPosition,
		},
		{
			name:    "records_are_left_alone",
			promise: "Other destinations may get the same records at the same time. So a destination changes neither the slice of a Write, nor its spare capacity, nor the contents of the records.",
			advice:  "Clone a record before changing it: its metadata, key and payload are shared. Copy the slice before sorting or appending.",
			run:     checks.recordsAreLeftAlone,
		},
		{
			name:    "slice_is_not_kept",
			promise: "When Write returns, the slice belongs to the caller again, which overwrites it. A destination may keep the records, but not the slice.",
			advice:  "Copy the records, or the positions that Ack needs, into memory of the destination. Give a goroutine that writes later a copy of the slice.",
			run:     checks.sliceIsNotKept,
		},
		{
			name:    "stores_what_it_acks",
			promise: "When a record is acked without an error, it has arrived, in the order of Write and with nothing lost. The source will not send it again.",
			advice:  "Return the ack only after the storage has confirmed the record: after the commit, the flush or the reply.",
			missing: noStored,
			run:     checks.storesWhatItAcks,
		},
		{
			name:    "refuses_only_the_bad_record",
			promise: "A record that cannot be written is refused: its ack has an error, and it goes to the dead-letter queue. Its neighbours get acks without an error.",
			advice:  "Find out which record is at fault, for example by writing the records of a failed batch one by one. An error of Write or Ack stops the worker.",
			missing: noRefused,
			run:     checks.refusesOnlyTheBadRecord,
		},
		{
			name:    "odd_records_do_no_harm",
			promise: "A record without metadata, key or payload, or with the other kind of data (raw or structured), is written or refused. It causes no panic, and each call returns.",
			advice:  "Look at the type of Key and of Payload, and for nil, before using them. Refuse in the ack what cannot be written.",
			run:     checks.oddRecordsDoNoHarm,
		},
		{
			name:    "calls_return_when_their_context_ends",
			promise: "Write and Ack return soon after their context has ended, with or without an error.",
			advice:  "Pass the context to each call that may block, and select on ctx.Done() wherever the destination waits.",
			run:     checks.callsReturnWhenTheirContextEnds,
		},
		{
			name:    "ended_context_is_no_refusal",
			promise: "No record is refused because the worker stops. After the context has ended, an ack may only have the context's error, or an error that wraps it. Any other error would send the record to the dead-letter queue.",
			advice:  "When ctx.Done() is closed, return ctx.Err() from Write or Ack, or wrap it in the error of the ack.",
			run:     checks.endedContextIsNoRefusal,
		},
		{
			name:    "idle_ack_returns_when_its_context_ends",
			promise: "An Ack that has nothing to return, because nothing was written or all was acked, returns when its context ends. It returns no acks.",
			advice:  "Select on ctx.Done() where Ack waits.",
			run:     checks.idleAckReturns,
		},
	}, conformLifecycle{
		fresh: func(r *conformRun) conformConnector { return checks.fresh(r) },
		use:   checks.use,
		leave: checks.leave,
	}.checks()...)
	return suite
}
