package funneltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// conformSource checks sources.
type conformSource struct{ SourceConformance }

func (s conformSource) positionsAreNotEmpty(r *conformRun) {
	for i, rec := range s.readFresh(r) {
		if len(rec.Position) == 0 {
			r.note("record %d (counted from 0) has no position", i)
		}
	}
}

func (s conformSource) positionsDiffer(r *conformRun) {
	seen := make(map[string]int)
	for i, rec := range s.readFresh(r) {
		if first, ok := seen[string(rec.Position)]; ok {
			r.note("the records %d and %d (counted from 0) both have the position %s", first, i, conformQuote(rec.Position))
			continue
		}
		seen[string(rec.Position)] = i
	}
}

func (s conformSource) orderIsTheSame(r *conformRun) {
	src := s.open(r)
	first := conformPositions(s.mustRead(r, src, s.Records))
	second := conformPositions(s.mustRead(r, s.reopen(r, src), s.Records))
	for i := range s.Records {
		if !bytes.Equal(first[i], second[i]) {
			r.fail("record %d (counted from 0) was %s first, and %s when the source was opened again\nfirst:  %s\nsecond: %s",
				i, conformQuote(first[i]), conformQuote(second[i]), conformQuoteAll(first), conformQuoteAll(second))
		}
	}
}

func (s conformSource) unackedAreReadAgain(r *conformRun) {
	src := s.open(r)
	unacked := conformPositions(s.mustRead(r, src, s.Records))
	src = s.reopen(r, src)
	again := s.mustReadAll(r, src, unacked)
	n := s.Records / 2
	s.mustAck(r, src, again[:n])
	s.mustReadAll(r, s.reopen(r, src), again[n:])
}

func (s conformSource) ackedAreNotReadAgain(r *conformRun) {
	src := s.open(r)
	recs := s.mustRead(r, src, s.Records)
	n := s.Records / 2
	positions := conformPositions(recs)
	s.mustAck(r, src, positions[:1])
	s.mustAck(r, src, positions[1:n])
	acked := slices.Clone(positions[:n])

	src = s.reopen(r, src)
	stream := s.readMore(r, r.ctx, src, s.Records-n, r.patience())
	s.checkNotRead(r, stream.records, acked)
	if len(stream.records) == 0 || stream.pending != nil {
		return
	}
	more := conformPositions(stream.records[:1])
	s.mustAck(r, src, more)
	acked = append(acked, more...)

	src = s.reopen(r, src)
	s.checkNotRead(r, s.readMore(r, r.ctx, src, s.Records-n-1, r.patience()).records, acked)
}

func (s conformSource) everythingCanBeAcked(r *conformRun) {
	src := s.open(r)
	stream := s.readToEnd(r, r.ctx, src)
	positions := conformPositions(stream.records)
	if stream.pending != nil && !s.AckDuringRead {
		// Only a source that is opened again can be acked without a pending Read.
		src = s.reopen(r, src)
		positions = conformPositions(s.mustRead(r, src, len(positions)))
	}
	last := len(positions) - 1
	s.mustAck(r, src, positions[:last])
	s.mustAck(r, src, positions[last:])
	s.checkNotRead(r, s.readMore(r, r.ctx, s.reopen(r, src), len(positions), r.quiet()).records, positions)
}

func (s conformSource) acksAreToldByTheirBytes(r *conformRun) {
	src := s.open(r)
	n := s.Records / 2
	var copies []opencdc.Position
	for _, p := range conformPositions(s.mustRead(r, src, s.Records))[:n] {
		copies = append(copies, bytes.Clone(p))
	}
	acked := slices.Clone(copies)
	s.mustAck(r, src, slices.Clip(copies))
	s.checkNotRead(r, s.readMore(r, r.ctx, s.reopen(r, src), s.Records-n, r.patience()).records, acked)
}

func (s conformSource) returnedRecordsAreLeftAlone(r *conformRun) {
	src := s.open(r)
	var reads, clones [][]opencdc.Record
	for n := 0; n < s.Records; {
		recs := s.mustReadSlice(r, src)
		reads, clones = append(reads, recs), append(clones, r.clone(recs))
		n += len(recs)
	}
	for _, recs := range reads {
		s.mustAck(r, src, conformPositions(recs))
	}
	r.mustTearDown(src)
	for i := range reads {
		for j, rec := range reads[i] {
			if diff := conformDiff(rec, clones[i][j]); diff != "" {
				r.note("record %s, from read %d, was changed after it was returned: %s", conformQuote(clones[i][j].Position), i, diff)
			}
		}
	}
}

func (s conformSource) returnedRecordsAreNotReturnedAgain(r *conformRun) {
	src := s.open(r)
	for _, when := range []string{"a later read", "a read after the source was opened again"} {
		for i, n := 0, 0; n < s.Records; i++ {
			recs := s.mustReadSlice(r, src)
			n += len(recs)
			for j, rec := range recs {
				if where := conformFindMark(rec); where != "" {
					r.fail("the test has overwritten the records that the source had returned, and %s shows this, in %s of record %d of read %d, whose position is %s",
						when, where, j, i, conformQuote(rec.Position))
				}
			}
			conformMarkContents(recs)
			conformMarkSlice(recs)
		}
		src = s.reopen(r, src)
	}
}

func (s conformSource) teardownUnblocks(r *conformRun) {
	src := s.open(r)
	read := s.readToEnd(r, r.ctx, src).pending
	if read == nil { // the source ends, or has more
		src = s.reopen(r, src)
		read = s.start(r, r.ctx, src, "")
	}
	read.what = "Read, pending when Teardown was called,"
	r.mustTearDown(src)
}

func (s conformSource) readAfterTeardownReturns(r *conformRun) {
	src := s.open(r)
	s.mustRead(r, src, 1)
	r.mustTearDown(src)
	read := s.start(r, r.ctx, src, "Read after Teardown")
	r.wait(read.conformCall)
}

func (s conformSource) pendingReadObeysItsContext(r *conformRun) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	stream := s.readToEnd(r, ctx, s.open(r))
	read := stream.pending
	switch {
	case stream.isEnded:
		r.skip("the source has ended by io.EOF, so no Read waits")
	case read == nil:
		r.skip("no Read waits after %d records", len(stream.records))
	}
	read.what = "Read, pending when its context ended,"
	cancel()
	r.wait(read.conformCall)
	if len(read.records) > 0 && read.err == nil {
		return // they came at the same time
	}
	if !errors.Is(read.err, context.Canceled) {
		r.note("the context of a pending Read ended, and Read returned the error %v, which is not context.Canceled", read.err)
	}
}

func (s conformSource) cancelledReadLosesNothing(r *conformRun) {
	src := s.open(r)
	all := conformPositions(s.mustRead(r, src, s.Records))
	src = s.reopen(r, src)
	s.mustRead(r, src, 1)
	r.wait(s.start(r, conformEnded(r.ctx), src, "Read, whose context has ended,").conformCall)
	s.mustReadAll(r, s.reopen(r, src), all)
}

func (s conformSource) ackReturnsDuringRead(r *conformRun) {
	src := s.open(r)
	var acked []opencdc.Position
	for read := s.start(r, r.ctx, src, "Read"); len(acked) < s.Records; {
		s.finish(r, read)
		next := read
		if read.err == nil {
			next = s.start(r, r.ctx, src, "Read, beside Ack,")
		}
		if len(acked)+len(read.records) >= s.Records {
			conformEndsBefore(next.conformCall, time.After(r.quiet())) // so that it waits
		}
		if len(read.records) > 0 {
			positions := conformPositions(read.records)
			acked = append(acked, positions...)
			s.mustAck(r, src, positions)
		} else {
			s.waitEmpty(r, time.Millisecond, fmt.Sprintf("%d more are expected", s.Records-len(acked)))
		}
		if missing := s.Records - len(acked); read.err == io.EOF && missing > 0 {
			r.fail("the source has ended by io.EOF after %d records, but %d more are expected", len(acked), missing)
		}
		read = next
	}
	s.checkNotRead(r, s.readMore(r, r.ctx, s.reopen(r, src), s.Records, r.quiet()).records, acked)
}

// use reads a few records and acks one.
func (s conformSource) use(r *conformRun, c conformConnector) {
	src := c.(funnel.Source)
	recs := s.mustRead(r, src, 2)
	s.mustAck(r, src, conformPositions(recs[:1]))
}

// leave reads records and does not ack them.
func (s conformSource) leave(r *conformRun, c conformConnector) { s.mustRead(r, c.(funnel.Source), 1) }
