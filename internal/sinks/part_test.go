package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// answer is what a part does with a copy.
type answer struct {
	kind   answerKind
	pieces int
	err    error
}

func (a answer) String() string {
	return fmt.Sprint([...]string{"pass", "filter", "split", "nack", "none"}[a.kind], a.pieces)
}

type answerKind int

const (
	passes answerKind = iota
	isFiltered
	isSplit
	isNacked
	isLeft // there is no answer yet
)

// node returns the node of a part and of those after it. The nodes of the sink exist.
func (p *part) node(sink []*funnel.TaskNode) *funnel.TaskNode {
	node := &funnel.TaskNode{Task: p.task(), BestEffort: p.bestEffort}
	for _, next := range p.next {
		if next.worker != p.worker {
			node.Next = append(node.Next, sink...)
			break
		}
		node.Next = append(node.Next, next.node(sink))
	}
	return node
}

func (p *part) task() funnel.Task {
	switch p.kind {
	case isSource:
		return funnel.NewSourceTask(p.id, &source{part: p, tornDown: make(chan struct{})}, log.Nop(), nil)
	case isProcessor:
		return funnel.NewProcessorTask(p.id, processor{p}, log.Nop(), nil)
	case isDestination:
		return funnel.NewDestinationTask(p.id, &destination{part: p}, log.Nop(), nil)
	default:
		return custom{p}
	}
}

// work is a call of a part with records: it takes its time, fails, or returns what it
// does with each record. If it heeds the end of its context, it returns that error.
func (p *part) work(ctx context.Context, records []opencdc.Record) ([]answer, error) {
	w, n := p.begin(records)
	defer p.finish(w)
	rnd := p.roll(p.id, w.number, n)
	p.takeTime(ctx, rnd.IntN(40), rnd.Int64N(int64(2*time.Millisecond)))
	if err := p.failAt(w, n); err != nil {
		return nil, err
	}
	if ctx.Err() != nil && rnd.IntN(2) == 0 {
		p.note("%s heeds the end of the context", p.id)
		return nil, ctx.Err()
	}
	answers := make([]answer, len(records))
	if p.isSilent(w, records) {
		for i := range answers {
			answers[i].kind = isLeft
		}
		return answers, nil
	}
	for i := range answers {
		answers[i] = p.decide(string(records[i].Position))
	}
	p.answered(w, records, answers)
	return answers, nil
}

// takeTime mostly takes no time or little, but at times long or until the context ends.
func (p *part) takeTime(ctx context.Context, x int, short int64) {
	switch {
	case x < 20:
	case x < 38:
		time.Sleep(p.grained(time.Duration(short)))
	default:
		select {
		case <-ctx.Done():
		case <-time.After(20*time.Millisecond + p.grained(time.Duration(short))):
		}
	}
}

// failAt fails if the n-th call for a worker does.
func (p *part) failAt(w *worker, n int) error {
	f := p.faults[call{w.number, n}]
	switch f.kind {
	case fails:
		p.fail(w, f)
		return f.err
	case panics:
		p.fail(w, f)
		panic(f.err)
	case exits:
		p.fail(w, f)
		runtime.Goexit()
	case falls:
		p.fallSilent(w)
	}
	return nil
}

// decide decides what a part does with a copy.
func (p *part) decide(position string) answer {
	n := p.ask(position)
	x := p.roll(p.id, position, n).IntN(100)
	_, at := p.placeOf(position)
	canRetry := p.kind != isDestination
	canDrop := p.kind == isProcessor || p.kind == isCustom
	switch {
	case x < 4:
		return answer{kind: isNacked, err: fake.ErrOf(p.id + " " + position)}
	case x < 14 && canRetry && n < 3:
		return answer{kind: isLeft}
	case x < 22 && canDrop:
		return answer{kind: isFiltered}
	case x < 32 && canDrop && len(at.letters) < 3:
		return answer{kind: isSplit, pieces: 2 + x%2}
	default:
		return answer{kind: passes}
	}
}

// open and close of a part fail at times.
func (p *part) open(context.Context) error  { return p.setOpen(true) }
func (p *part) close(context.Context) error { return p.setOpen(false) }

type processor struct{ *part }

func (p processor) Open(ctx context.Context) error     { return p.open(ctx) }
func (p processor) Teardown(ctx context.Context) error { return p.close(ctx) }

func (p processor) Process(ctx context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	answers, err := p.work(ctx, records)
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil
	}
	results := make([]sdk.ProcessedRecord, len(records))
	for i := range results {
		if err != nil {
			results[i] = sdk.ErrorRecord{Error: err}
			continue
		}
		switch a := answers[i]; a.kind {
		case passes:
			results[i] = sdk.SingleRecord(records[i])
		case isFiltered:
			results[i] = sdk.FilterRecord{}
		case isSplit:
			results[i] = fake.Pieces(records[i], a.pieces)
		case isNacked:
			results[i] = sdk.ErrorRecord{Error: a.err}
		}
	}
	return results
}

type custom struct{ *part }

func (c custom) ID() string                      { return c.id }
func (c custom) Open(ctx context.Context) error  { return c.open(ctx) }
func (c custom) Close(ctx context.Context) error { return c.close(ctx) }

func (c custom) Do(ctx context.Context, b *funnel.Batch) error {
	records := b.ActiveRecords()
	answers, err := c.work(ctx, records)
	for i := len(answers) - 1; i >= 0; i-- {
		switch a := answers[i]; a.kind {
		case isFiltered:
			b.Filter(i)
		case isSplit:
			b.SplitRecord(i, fake.Pieces(records[i], a.pieces))
		case isNacked:
			b.Nack(i, a.err)
		case isLeft:
			b.Retry(i)
		}
	}
	return err
}

type destination struct {
	*part
	acks []connector.DestinationAck
}

func (d *destination) ID() string                         { return d.id }
func (d *destination) Errors() <-chan error               { return nil }
func (d *destination) Open(ctx context.Context) error     { return d.open(ctx) }
func (d *destination) Teardown(ctx context.Context) error { return d.close(ctx) }

func (d *destination) Write(ctx context.Context, records []opencdc.Record) error {
	answers, err := d.work(ctx, records)
	d.acks = d.acks[:0]
	for i := range answers {
		d.acks = append(d.acks, connector.DestinationAck{Position: records[i].Position, Error: answers[i].err})
	}
	return err
}

func (d *destination) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// letterbox is the destination of a dead-letter queue.
type letterbox struct {
	*part
	acks []connector.DestinationAck
}

func (l *letterbox) ID() string                         { return l.id }
func (l *letterbox) Errors() <-chan error               { return nil }
func (l *letterbox) Open(ctx context.Context) error     { return l.open(ctx) }
func (l *letterbox) Teardown(ctx context.Context) error { return l.close(ctx) }

func (l *letterbox) Write(ctx context.Context, letters []opencdc.Record) error {
	n := l.beginLetters(letters)
	defer l.finish(l.worker)
	rnd := l.roll(l.id, n)
	l.takeTime(ctx, rnd.IntN(40), rnd.Int64N(int64(time.Millisecond)))
	if err := l.failAt(l.worker, n); err != nil {
		return err
	}
	l.acks = l.acks[:0]
	for _, letter := range letters {
		l.acks = append(l.acks, connector.DestinationAck{Position: letter.Position})
	}
	l.store(letters)
	return nil
}

func (l *letterbox) Ack(context.Context) ([]connector.DestinationAck, error) { return l.acks, nil }

// source returns batches, then what is at the end.
type source struct {
	*part
	batch    int
	tornDown chan struct{}
}

func (s *source) ID() string                 { return s.id }
func (s *source) Errors() <-chan error       { return nil }
func (s *source) Open(context.Context) error { return nil }

func (s *source) Teardown(context.Context) error {
	close(s.tornDown) // panics the second time
	return nil
}

func (s *source) Read(ctx context.Context) ([]opencdc.Record, error) {
	w := s.worker
	s.beginRead()
	rnd := s.roll(s.id, "read", s.batch)
	d := time.Duration(rnd.IntN(2)) * time.Duration(rnd.Int64N(int64(4*time.Millisecond)))
	if s.batch == len(w.batches) {
		switch w.atEnd {
		case endEOF:
			s.endRead(0)
			return nil, io.EOF
		case endFails:
			s.mayFail(errReading)
			return nil, errReading
		}
		d = forEver
	}
	select {
	case <-time.After(s.grained(d)):
	case <-s.tornDown:
		return nil, errors.New("the source was torn down")
	case <-ctx.Done():
		if rnd.IntN(2) == 0 || d > time.Hour {
			return nil, ctx.Err()
		}
	}
	s.batch++
	return s.endRead(w.batches[s.batch-1]), nil
}

var errReading = errors.New("a read failed")

func (s *source) Ack(ctx context.Context, positions []opencdc.Position) error {
	n := s.beginAck(positions)
	defer s.finish(s.worker)
	rnd := s.roll(s.id, "ack", n)
	s.takeTime(ctx, rnd.IntN(40), rnd.Int64N(int64(time.Millisecond)))
	if rnd.IntN(8) == 0 {
		s.probe(ctx)
	}
	return s.failAt(s.worker, n)
}
