package model

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// The source, the destinations and the dead-letter queue.

// outstanding is what a destination has written and not confirmed.
type outstanding struct {
	acks  []connector.DestinationAck
	buf   []connector.DestinationAck // what the last call returned
	empty int                        // answers without an ack in a row
	since time.Time                  // the last of them
	chunk int
	lull  int
}

// take returns the next acks. The slice is used again by the next call.
func (o *outstanding) take(p *part) []connector.DestinationAck {
	clear(o.buf)
	o.buf = o.buf[:0]
	switch {
	case o.empty == 1 && time.Since(o.since) > 0:
		p.w.complain("%s: asked for acks %s after the first empty answer, not at once", p.id, time.Since(o.since))
	case o.empty > 1:
		p.w.spaced(p.id, "asked for acks after an empty answer", o.since, o.empty-1)
	}
	if o.empty < 4 && p.chance(o.lull) {
		o.empty++
		o.since = time.Now()
		if p.chance(50) {
			return nil
		}
		return o.buf
	}
	o.empty = 0
	n := min(1+p.rand.IntN(o.chunk), len(o.acks))
	o.buf = append(o.buf, o.acks[:n]...)
	o.acks = o.acks[n:]
	return o.buf
}

// fakeDestination is a destination of a node.
type fakeDestination struct {
	nodePart
	outstanding
	current *call
	asked   int // for acks since the last write
}

func (d *fakeDestination) ID() string {
	d.w.complain("%s: ID is called", d.id)
	return d.id
}

func (d *fakeDestination) Errors() <-chan error {
	d.w.complain("%s: Errors is called", d.id)
	return nil
}

func (d *fakeDestination) Open(context.Context) error {
	d.w.opened(d.id)
	return nil
}

func (d *fakeDestination) Teardown(context.Context) error {
	d.w.closed(d.id)
	return nil
}

func (d *fakeDestination) Write(ctx context.Context, recs []opencdc.Record) error {
	if len(d.acks) > 0 {
		d.w.complain("%s: Write is called before all acks were fetched", d.id)
	}
	c, forms := d.call(ctx, recs)
	defer d.done(c)
	c.broken = true // until it is confirmed
	d.strikeOut()
	if w := d.w.tree.wait; w.node == d.id && w.nth == d.count {
		<-ctx.Done()
	}
	if ctx.Err() != nil && !d.strikes(faultCancel) {
		return ctx.Err()
	}
	if d.strikes(faultWrite) {
		return errTask
	}
	d.w.keep(d.id, recs, c.items)
	d.current, d.empty, d.asked = c, 0, 0
	d.acks = make([]connector.DestinationAck, len(recs))
	for i, rec := range recs {
		d.acks[i].Position = rec.Position
		if d.chance(30) {
			d.acks[i].Position = slices.Clone(rec.Position)
		}
		if v := d.n.behave(d.w.tree.seed, forms[i].id); v.kind == verdictNack {
			d.acks[i].Error = v.err
		}
	}
	i := d.rand.IntN(len(d.acks))
	switch {
	case d.strikes(faultAckWrong):
		d.acks[i].Position = opencdc.Position("wrong")
	case d.strikes(faultAckMany):
		d.acks = append(d.acks, d.acks[i])
	}
	return nil
}

func (d *fakeDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	d.enter(ctx, "Ack", d.w.tree.linear())
	defer d.leave()
	if len(d.acks) == 0 {
		d.w.complain("%s: Ack is called though nothing is outstanding", d.id)
		return nil, errTask
	}
	d.asked++
	defer d.w.end(d.current)
	if ctx.Err() != nil && !d.strikes(faultCancel) {
		d.acks = nil
		return nil, ctx.Err()
	}
	switch {
	case d.strikes(faultAck) && (len(d.acks) == 1 || d.asked > 1):
		d.acks = nil
		return nil, errTask
	case d.strikes(faultAckStop) && (len(d.acks) == 1 || d.asked > 3):
		if d.asked > 12 {
			d.w.complain("%s: Ack is called again and again", d.id)
			return nil, errTask
		}
		return nil, nil
	case d.strikes(faultAckMany):
		d.buf = append(d.buf[:0], d.acks...)
		d.acks = nil
		return d.buf, nil
	case d.strikes(faultAck), d.strikes(faultAckStop):
		last := len(d.acks) - 1
		held := d.acks[last]
		d.acks = d.acks[:last]
		acks := d.take(&d.part)
		d.acks = append(slices.Clone(d.acks), held)
		return acks, nil
	}
	acks := d.take(&d.part)
	d.current.broken = len(d.acks) > 0
	return acks, nil
}

// fakeQueue is the destination of the dead-letter queue.
type fakeQueue struct {
	part
	outstanding
	current *call
	start   time.Time
}

func (q *fakeQueue) ID() string {
	q.w.complain("dlq: ID is called")
	return q.id
}

func (q *fakeQueue) Errors() <-chan error {
	q.w.complain("dlq: Errors is called")
	return nil
}

func (q *fakeQueue) Open(context.Context) error {
	q.w.opened(q.id)
	return nil
}

func (q *fakeQueue) Teardown(context.Context) error {
	q.w.closed(q.id)
	return nil
}

func (q *fakeQueue) Write(ctx context.Context, recs []opencdc.Record) error {
	q.enter(ctx, "Write", true)
	defer q.leave()
	q.count++
	if len(recs) == 0 || len(q.acks) > 0 {
		q.w.complain("dlq: Write with %d records while %d are outstanding", len(recs), len(q.acks))
	}
	c := &call{who: "dlq"}
	q.acks = make([]connector.DestinationAck, len(recs))
	for i, rec := range recs {
		b, f := q.read(rec)
		c.items = append(c.items, b.form)
		c.slots = append(c.slots, f.slot())
		c.letters = append(c.letters, b)
		q.acks[i].Position = rec.Position
	}
	q.w.begin(c)
	defer q.w.end(c)
	q.w.keep(q.id, recs, c.items)
	q.current, q.empty = c, 0
	if f := q.w.tree.fault; f.nth == q.count {
		switch f.kind {
		case faultQueueWrite:
			q.acks = nil
			return errQueue
		case faultQueuePanic:
			q.acks = nil
			panic(testPanic)
		case faultQueueNack, faultQueueNacks:
			for _, i := range q.w.tree.queueNacks(len(recs)) {
				q.acks[i].Error = errQueue
			}
		}
	}
	return nil
}

// read checks a record of the dead-letter queue and returns what it tells.
func (q *fakeQueue) read(rec opencdc.Record) (deadLetter, form) {
	var b deadLetter
	after, ok := rec.Payload.After.(opencdc.StructuredData)
	if !ok {
		q.w.complain("dlq: the payload is %T", rec.Payload.After)
	}
	f := formOfMap(after)
	b.form = f.String()
	if want := cmp.Or(f.pos, q.w.tree.position(f.slot())); string(rec.Position) != want {
		q.w.complain("dlq: the position is %q, that of the record %q", rec.Position, want)
	}
	if rec.Operation != opencdc.OperationCreate || rec.Key != nil || rec.Payload.Before != nil {
		q.w.complain("dlq: record of %s has operation %s, key %v, payload before %v",
			b.form, rec.Operation, rec.Key, rec.Payload.Before)
	}
	if id, err := rec.Metadata.GetConduitSourceConnectorID(); err != nil || id != q.w.tree.first.id {
		q.w.complain("dlq: record of %s has source connector %q (%v)", b.form, id, err)
	}
	if at, err := rec.Metadata.GetCreatedAt(); err != nil || at.Before(q.start) || at.After(time.Now()) {
		q.w.complain("dlq: record of %s was created at %s (%v)", b.form, at, err)
	}
	var err error
	if b.text, err = rec.Metadata.GetConduitDLQNackError(); err != nil {
		q.w.complain("dlq: record of %s has no error: %v", b.form, err)
	}
	if b.task, err = rec.Metadata.GetConduitDLQNackNodeID(); err != nil {
		q.w.complain("dlq: record of %s has no task: %v", b.form, err)
	}
	letter, err := funnel.ParseDeadLetter(rec)
	if err != nil || !letter.TypesKnown || formOf(letter.Record) != f || letter.TaskID != b.task || letter.Reason != b.text {
		q.w.complain("dlq: record of %s is parsed as %v, %v", b.form, letter, err)
	}
	b.version = letter.Version
	return b, f
}

func (q *fakeQueue) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	q.enter(ctx, "Ack", true)
	defer q.leave()
	if len(q.acks) == 0 {
		q.w.complain("dlq: Ack is called though nothing is outstanding")
		return nil, errQueue
	}
	defer q.w.end(q.current)
	for i, ack := range q.acks {
		if i > 0 && ack.Error != nil { // what comes before it is confirmed first
			rest := q.acks[i:]
			q.acks = q.acks[:i]
			acks := q.take(&q.part)
			q.acks = append(slices.Clone(q.acks), rest...)
			return acks, nil
		}
	}
	return q.take(&q.part), nil
}

// fakeSource is the source.
type fakeSource struct {
	part    // of Read
	acks    part
	sleepy  int
	answers int
	closed  *signal // Ack has returned io.EOF
	torn    *signal // Teardown was called
	given   [][]opencdc.Position

	mu        sync.Mutex
	balked    int  // teardowns that have failed
	acked     int  // positions
	exhausted bool // the last read blocks
}

func (s *fakeSource) ID() string {
	s.w.complain("source: ID is called")
	return s.id
}

func (s *fakeSource) Errors() <-chan error {
	s.w.complain("source: Errors is called")
	return nil
}

func (s *fakeSource) Open(context.Context) error {
	s.w.opened(s.id)
	return nil
}

func (s *fakeSource) Teardown(context.Context) error {
	time.Sleep(time.Duration(s.w.tree.seed%4) * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.balked < s.w.tree.balks {
		s.balked++
		return errBalks
	}
	s.w.closed(s.id)
	s.torn.fire()
	return nil
}

func (s *fakeSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	s.enter(ctx, "Read", s.w.tree.linear() && s.w.tree.ahead == 0)
	defer s.leave()
	if s.w.tree.ahead == 0 && s.acks.busy.Load() {
		s.w.complain("source: Read is called during Ack")
	}
	t := s.w.tree
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s.torn.fired() {
		return s.late()
	}
	if s.closed.fired() {
		return s.reason()
	}
	if s.answers == len(t.reads) {
		return s.block(ctx)
	}
	read := t.reads[s.answers]
	s.answers++
	c := s.w.begin(&call{who: "read", items: t.readItems(read)})
	defer s.w.end(c)
	if t.ahead > 0 {
		time.Sleep(time.Duration(1 + s.rand.IntN(1000))) // so that no two reads end at the same instant
	}
	s.pause(ctx, s.sleepy)
	var recs []opencdc.Record
	for slot := read.from; slot < read.to; slot++ {
		recs = append(recs, t.form(slot).record())
	}
	if t.fault.nth == s.answers {
		switch t.fault.kind {
		case faultRead:
			return recs, errRead
		case faultReadCanceled:
			return recs, context.Canceled
		case faultReadPanic:
			panic(testPanic)
		case faultNoPosition:
			if len(recs) > 0 {
				recs[s.rand.IntN(len(recs))].Position = nil
			}
		}
	}
	if read.eof {
		return recs, io.EOF
	}
	return recs, nil
}

// block is a read that finds nothing more.
func (s *fakeSource) block(ctx context.Context) ([]opencdc.Record, error) {
	s.progress(0, true)
	if s.w.tree.deaf {
		ctx = context.Background()
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closed.done:
		return s.reason()
	case <-s.torn.done:
		return s.late()
	}
}

// reason says why the source has closed.
func (s *fakeSource) reason() ([]opencdc.Record, error) {
	s.w.end(s.w.begin(&call{who: "read", items: []string{"reason"}}))
	if err := s.w.tree.reason(); err != nil {
		return nil, err
	}
	return []opencdc.Record{s.w.tree.form(0).record()}, nil
}

// late is what a read returns that ends because of the teardown. It counts for
// nothing.
func (s *fakeSource) late() ([]opencdc.Record, error) {
	var recs []opencdc.Record
	if s.chance(50) {
		recs = append(recs, form{id: "0", pos: "late"}.record())
	}
	return recs, []error{errTorn, errTorn, nil, io.EOF, context.Canceled}[s.rand.IntN(5)]
}

// progress notes that more was acked, or that the last read blocks. Once both have
// come to their end, the worker is to be stopped, unless the fault of the tree does
// so.
func (s *fakeSource) progress(acked int, exhausted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked += acked
	s.exhausted = s.exhausted || exhausted
	if s.exhausted && s.acked == s.w.tree.records() && !s.w.tree.fault.isTimed() {
		s.w.drained.fire()
	}
}

func (s *fakeSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	s.acks.enter(ctx, "Ack", true)
	defer s.acks.leave()
	if s.w.tree.ahead == 0 && s.busy.Load() {
		s.w.complain("source: Ack is called during Read")
	}
	s.acks.count++
	c := &call{who: "ack"}
	for i, position := range positions {
		c.items = append(c.items, string(position))
		positions[i] = opencdc.Position("mine")
	}
	if len(positions) == 0 {
		s.w.complain("source: Ack is called with nothing")
	}
	s.w.begin(c)
	defer s.w.end(c)
	s.given = append(s.given, positions)
	s.acks.pause(context.Background(), s.sleepy)
	if f := s.w.tree.fault; f.nth == s.acks.count {
		switch f.kind {
		case faultSourceAck:
			return errAck
		case faultSourcePanic:
			panic(testPanic)
		case faultSourceClosed:
			s.closed.fire()
			return io.EOF
		}
	}
	s.progress(len(positions), false)
	return nil
}

// check complains if somebody wrote into a slice that belongs to the source.
func (s *fakeSource) check() {
	for i, positions := range s.given {
		for _, position := range positions {
			if string(position) != "mine" {
				s.w.complain("source: the positions of ack %d were written to later", i)
			}
		}
	}
}
