package funneltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// conformSource has methods that make the calls of a source.

// conformMoreRecords is how many records beyond those that are promised are read from a
// source that neither waits nor ends.
const conformMoreRecords = 1000

// conformRead is a call of Read. Its results are valid once the call has ended.
type conformRead struct {
	*conformCall
	records []opencdc.Record
	err     error
}

// conformStream is what several calls of Read have returned.
type conformStream struct {
	records []opencdc.Record // copies of the structs
	last    []opencdc.Record // the slice of the last Read
	pending *conformRead     // the last Read, if it has not returned
	isEnded bool             // the last Read has returned io.EOF
}

// fresh returns a new source.
func (s conformSource) fresh(r *conformRun) funnel.Source {
	src := s.New(r.t)
	if src == nil {
		r.fail("New returned nil")
	}
	return src
}

// open returns a new source that is open.
func (s conformSource) open(r *conformRun) funnel.Source {
	src := s.fresh(r)
	r.mustOpen(src)
	return src
}

// reopen tears a source down, and opens it again, or opens the source that takes its place.
func (s conformSource) reopen(r *conformRun, src funnel.Source) funnel.Source {
	r.mustTearDown(src)
	if s.Reopen != nil {
		if src = s.Reopen(r.t, src); src == nil {
			r.fail("Reopen returned nil")
		}
	}
	r.mustOpen(src)
	return src
}

// start starts a Read.
func (s conformSource) start(r *conformRun, ctx context.Context, src funnel.Source, what string) *conformRead {
	read := &conformRead{}
	read.conformCall = r.start(what, func(context.Context) { read.records, read.err = src.Read(ctx) })
	r.pending = read.conformCall
	return read
}

// finish waits for a Read. An error other than io.EOF ends the check.
func (s conformSource) finish(r *conformRun, read *conformRead) {
	r.wait(read.conformCall)
	switch {
	case read.err == nil || read.err == io.EOF:
	case errors.Is(read.err, io.EOF):
		r.fail("%s returned an error that wraps io.EOF: %v\nOnly io.EOF itself says that there are no more records", read.what, read.err)
	default:
		r.fail("%s failed, and returned %d records that are lost by that: %v", read.what, len(read.records), read.err)
	}
}

// readMore reads until it has n records, the source ends, or no record comes for as long as
// the patience lasts.
func (s conformSource) readMore(r *conformRun, ctx context.Context, src funnel.Source, n int, patience time.Duration) conformStream {
	return s.readWhile(r, ctx, src, patience, conformLessThan(n))
}

// readToEnd reads the promised records, and then until the source ends or waits, but not
// forever.
func (s conformSource) readToEnd(r *conformRun, ctx context.Context, src funnel.Source) conformStream {
	stream := s.readWhile(r, ctx, src, conformForever, conformLessThan(s.Records))
	if stream.isEnded {
		return stream
	}
	more := s.readMore(r, ctx, src, conformMoreRecords, r.quiet())
	more.records = append(stream.records, more.records...)
	return more
}

// mustRead reads at least n records.
func (s conformSource) mustRead(r *conformRun, src funnel.Source, n int) []opencdc.Record {
	return s.readWhile(r, r.ctx, src, conformForever, conformLessThan(n)).records
}

// mustReadSlice reads at least one record. It returns the slice of the source.
func (s conformSource) mustReadSlice(r *conformRun, src funnel.Source) []opencdc.Record {
	return s.readWhile(r, r.ctx, src, conformForever, conformLessThan(1)).last
}

// conformLessThan returns a function that says how many of n records are missing.
func conformLessThan(n int) func(*conformStream) string {
	return func(stream *conformStream) string {
		if missing := n - len(stream.records); missing > 0 {
			return fmt.Sprintf("%d more are expected of %d, see Records", missing, n)
		}
		return ""
	}
}

// readFresh reads the promised records from a new source.
func (s conformSource) readFresh(r *conformRun) []opencdc.Record {
	return s.mustRead(r, s.open(r), s.Records)
}

// mustReadAll reads until all of the positions have come. It returns the positions that it
// has read.
func (s conformSource) mustReadAll(r *conformRun, src funnel.Source, want []opencdc.Position) []opencdc.Position {
	missing := make(map[string]bool)
	for _, p := range want {
		missing[string(p)] = true
	}
	seen := 0
	stream := s.readWhile(r, r.ctx, src, conformForever, func(stream *conformStream) string {
		for ; seen < len(stream.records); seen++ {
			delete(missing, string(stream.records[seen].Position))
		}
		if len(missing) == 0 {
			return ""
		}
		var left []opencdc.Position
		for _, p := range want {
			if missing[string(p)] {
				left = append(left, p)
			}
		}
		return "these positions were not acked and do not come again: " + conformQuoteAll(left)
	})
	return conformPositions(stream.records)
}

// conformForever is a patience without an end.
const conformForever = time.Duration(0)

// readWhile reads while missing says that something is missing. With a patience, it also
// stops when the source ends, or when no record comes for that long. Without one, either is
// a finding.
func (s conformSource) readWhile(
	r *conformRun,
	ctx context.Context,
	src funnel.Source,
	patience time.Duration,
	missing func(*conformStream) string,
) (stream conformStream) {
	pause, last := time.Millisecond, time.Now()
	for what := missing(&stream); what != ""; what = missing(&stream) {
		read := s.start(r, ctx, src, fmt.Sprintf("Read after %d records (%s)", len(stream.records), what))
		if patience > 0 && !conformEndsBefore(read.conformCall, time.After(patience)) {
			stream.pending = read
			return stream
		}
		s.finish(r, read)
		stream.records, stream.last = append(stream.records, read.records...), read.records
		if read.err == io.EOF {
			stream.isEnded = true
			if what = missing(&stream); what != "" && patience == conformForever {
				r.fail("the source has ended by io.EOF after %d records, but %s", len(stream.records), what)
			}
			return stream
		}
		if len(read.records) > 0 {
			pause, last = time.Millisecond, time.Now()
			continue
		}
		if patience > 0 && time.Since(last) >= patience {
			return stream
		}
		s.waitEmpty(r, pause, what)
		pause = min(2*pause, 100*time.Millisecond)
	}
	return stream
}

// waitEmpty waits after a Read that has returned no records. If no time is left then, it
// adds a finding.
func (s conformSource) waitEmpty(r *conformRun, pause time.Duration, what string) {
	r.pause(pause)
	if r.isOver() {
		r.fail("Read returns no records and no error, again and again, but %s", what)
	}
}

// mustAck acks positions.
func (s conformSource) mustAck(r *conformRun, src funnel.Source, positions []opencdc.Position) {
	text := conformQuoteAll(positions)
	// The source owns the slice.
	positions = append(make([]opencdc.Position, 0, len(positions)), positions...)
	var err error
	r.call("Ack of "+text, func(ctx context.Context) { err = src.Ack(ctx, positions) })
	if err != nil {
		r.fail("Ack of %s failed: %v", text, err)
	}
}

// checkNotRead adds a finding for each record that was read although it is acked.
func (s conformSource) checkNotRead(r *conformRun, recs []opencdc.Record, acked []opencdc.Position) {
	isAcked := make(map[string]bool)
	for _, p := range acked {
		isAcked[string(p)] = true
	}
	for _, rec := range recs {
		if isAcked[string(rec.Position)] {
			r.note("record %s was acked, and was read again when the source was opened again", conformQuote(rec.Position))
		}
	}
}
