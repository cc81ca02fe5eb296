package funneltest

import (
	"errors"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// ProcessorConformance says how [TestProcessor] gets processors.
type ProcessorConformance struct {
	// New returns a processor that was not opened yet. New may end the test, for example
	// by t.Fatal. It is called on the goroutine of the subtest, at least once in each. If
	// the processor is a [funnel.ConcurrentProcessor] whose IsConcurrent returns true, the
	// promises of that interface are tested, too.
	New func(t testing.TB) funnel.Processor
	// Record returns record i, from 0, of the records to process. Together they should
	// lead to each kind of result. Each call must return new memory, and each i a different
	// position; an empty position is replaced. By default the records have raw and
	// structured data.
	Record func(i int) opencdc.Record
	// Skip holds the names of the subtests to leave out.
	Skip []string
	// Timeout is the time that each subtest has. The default is 10 s.
	Timeout time.Duration
}

// TestProcessor tests that a processor keeps the contract of [funnel.Processor] and, if it
// says that it is concurrent, of [funnel.ConcurrentProcessor]. It runs a subtest for each
// promise, with a new processor, in the manner of [TestSource].
//
// The subtests about the promises of a ConcurrentProcessor compare results. Leave them out
// for a processor whose results depend on the time or on chance.
func TestProcessor(t *testing.T, p ProcessorConformance) {
	t.Helper()
	p.suite().test(t)
}

// suite returns the checks of a processor.
func (p ProcessorConformance) suite() *conformSuite {
	suite := &conformSuite{name: "TestProcessor", skip: p.Skip, timeout: p.Timeout}
	if p.New == nil {
		suite.err = errors.New("the function New is missing")
	}
	if p.Record == nil {
		p.Record = conformRecord
	}
	checks := conformProcessor{p}
	suite.checks = append([]conformCheck{
		{
			name:    "results_match_the_records",
			promise: "Process returns at least one result and at most one for each record, at the same index.",
			advice:  "Return one result per record. Use MultiRecord for several records, FilterRecord for none, and nil for a record that is to be passed again.",
			run:     checks.resultsMatchTheRecords,
		},
		{
			name:    "each_record_gets_an_answer",
			promise: "A record with the result nil, or beyond the end of the results, is passed again. After 16 calls in a row that answer for no record, the worker stops.",
			advice:  "Return nil only while waiting may help. For a record that cannot be processed, return an ErrorRecord.",
			run:     checks.eachRecordGetsAnAnswer,
		},
		{
			name:    "results_are_of_known_types",
			promise: "A result is a SingleRecord, a FilterRecord, an ErrorRecord or a MultiRecord of the SDK, or nil. Anything else stops the worker, and so does a pointer to one of them.",
			advice:  "Return the value itself, for example sdk.SingleRecord(record).",
			run:     checks.resultsAreOfKnownTypes,
		},
		{
			name:    "positions_are_not_empty",
			promise: "Each record in a result has a position that is not empty: a destination acks by it.",
			advice:  "Copy the position of the record into the records that are made from it. Pieces of a split may share it.",
			run:     checks.positionsAreNotEmpty,
		},
		{
			name:    "position_bytes_are_left_alone",
			promise: "Nobody writes to the bytes of a position: the source is acked with them.",
			advice:  "To change a position, assign a new one. Clone it before appending to it or writing into it.",
			run:     checks.positionBytesAreLeftAlone,
		},
		{
			name:    "odd_records_do_no_harm",
			promise: "A record without metadata, key or payload, or with the other kind of data (raw or structured), gets a result like any other. It causes no panic.",
			advice:  "Look at the type of Key and of Payload, and for nil maps, before using them. Return an ErrorRecord for what cannot be processed.",
			run:     checks.oddRecordsDoNoHarm,
		},
		{
			name:    "results_do_not_use_the_slice_of_records",
			promise: "The engine owns the slice of records, and writes to it after Process has returned. It reads the results after that.",
			advice:  "Do not return the slice, or a part of it, as a MultiRecord. Make a slice of your own.",
			run:     checks.resultsDoNotUseTheSlice,
		},
		{
			name:    "slice_of_records_is_not_kept",
			promise: "After Process has returned, the processor neither reads the slice of records nor writes to it.",
			advice:  "Copy the records that the processor remembers, for example in a window or a cache.",
			run:     checks.sliceIsNotKept,
		},
		{
			name:    "results_stay_until_the_next_call",
			promise: "The results, and the slices in a MultiRecord, stay as they are until the next call of Process. The engine reads them meanwhile.",
			advice:  "Do not change results in Teardown, or on a goroutine that runs on after Process. Clear memory that is reused at the beginning of Process.",
			run:     checks.resultsStay,
		},
		{
			name:    "returned_records_are_left_alone",
			promise: "The engine owns the records in the results, even after the next call of Process. Only the slices may be used again.",
			advice:  "Allocate the maps and the bytes of a record anew in each call.",
			run:     checks.returnedRecordsAreLeftAlone,
		},
		{
			name:    "returned_records_are_not_returned_again",
			promise: "Later tasks change the contents of records in place. These changes do not show in the results of later calls.",
			advice:  "Return copies of maps and bytes that the processor keeps, for example of metadata that each record gets, or of cached results.",
			run:     checks.returnedRecordsAreNotReturnedAgain,
		},
		{
			name:    "pieces_share_nothing_with_each_other",
			promise: "Each piece of a MultiRecord has maps and bytes of its own. A change to one piece by a later task shows in no other.",
			advice:  "Clone the record for each piece. opencdc's Clone does not copy lists and bytes inside structured data; copy these yourself.",
			run:     checks.piecesShareNothing,
		},
		{
			name:    "pieces_share_no_maps_with_their_record",
			promise: "The pieces of a MultiRecord share no maps with the record that they come from. If a piece fails, the record goes to the dead-letter queue, as it was.",
			advice:  "Clone the record for the first piece, too.",
			run:     checks.piecesShareNoMapsWithTheirRecord,
		},
		{
			name:    "process_returns_when_its_context_ends",
			promise: "Process returns soon after its context has ended.",
			advice:  "Pass the context to each call that may block, and select on ctx.Done() wherever the processor waits.",
			run:     checks.processReturnsWhenItsContextEnds,
		},
		{
			name:    "ended_context_is_no_refusal",
			promise: "No record is nacked because the worker stops. If Process returns an ErrorRecord because the context has ended, its error is the context's error, or wraps it. Any other error would send the record to the dead-letter queue.",
			advice:  "Return ErrorRecord{Error: ctx.Err()}, wrapped or not, or nil for no answer.",
			run:     checks.endedContextIsNoRefusal,
		},
		{
			name:    "results_do_not_depend_on_the_batch",
			promise: "The results of a ConcurrentProcessor depend neither on which records are passed in the same call, nor on the order of the calls.",
			advice:  "Keep no state between records. If there must be some, return false from IsConcurrent.",
			run:     checks.resultsDoNotDependOnTheBatch,
		},
		{
			name:    "concurrent_calls_agree",
			promise: "Several goroutines at a time can call Process of a ConcurrentProcessor, with the same results as in one call after the other.",
			advice:  "Keep the memory of a call in local variables. Protect what calls share with a lock. Run the test with -race.",
			run:     checks.concurrentCallsAgree,
		},
		{
			name:    "concurrent_results_stay",
			promise: "No call of a ConcurrentProcessor writes to the slices that another one has returned, not even a later one.",
			advice:  "Allocate the results, and the slices in a MultiRecord, in each call.",
			run:     checks.concurrentResultsStay,
		},
	}, conformLifecycle{
		fresh: func(r *conformRun) conformConnector { return checks.fresh(r) },
		use:   checks.use,
	}.checks()...)
	return suite
}
