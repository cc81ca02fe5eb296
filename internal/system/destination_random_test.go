package system_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// layer is a decorator of a destination, and its model.
type layer struct {
	name     string
	decorate func(funnel.Destination) funnel.Destination
	play     func(ctx context.Context, d funnel.Destination, recs []opencdc.Record, yield yields)
}

// yields gives what Write returns and then what each call of Ack returns.
type yields func([]connector.DestinationAck, error) bool

// modelled is the model of a layer around a destination: a straight function, which is
// suspended between the calls.
type modelled struct {
	funnel.Destination
	layer layer
	next  func() ([]connector.DestinationAck, error, bool)
	stop  func()
}

func (m *modelled) Write(ctx context.Context, recs []opencdc.Record) error {
	m.end()
	recs = slices.Clip(slices.Clone(recs))
	m.next, m.stop = iter.Pull2(func(yield func([]connector.DestinationAck, error) bool) {
		m.layer.play(ctx, m.Destination, recs, yield)
	})
	_, err, _ := m.next()
	return err
}

func (m *modelled) Ack(context.Context) ([]connector.DestinationAck, error) {
	acks, err, _ := m.next()
	return acks, err
}

func (m *modelled) end() {
	if m.stop != nil {
		m.stop()
	}
	if inner, ok := m.Destination.(*modelled); ok {
		inner.end()
	}
}

// modelAcks returns the acks for records that were written. If there is an error, they
// are those of the first records.
func modelAcks(ctx context.Context, d funnel.Destination, recs []opencdc.Record) (acks []connector.DestinationAck, err error) {
	empty := 0
	for len(acks) < len(recs) {
		more, err := d.Ack(ctx)
		if err != nil {
			return acks, err
		}
		if len(more) == 0 {
			if empty++; empty == 5 {
				return acks, funnel.ErrAcksStopped
			}
			if empty > 1 && !modelSleeps(ctx, time.Millisecond<<(empty-2)) {
				return acks, ctx.Err()
			}
			continue
		}
		empty = 0
		acks = append(acks, more...)
		for i := range acks {
			if len(acks) > len(recs) || string(acks[i].Position) != string(recs[i].Position) {
				return nil, funnel.ErrAckMismatch
			}
		}
	}
	return acks, nil
}

func modelSleeps(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// limitedLayer is a limited destination and its model.
func limitedLayer(limit funnel.WriteLimit) layer {
	fits := func(recs []opencdc.Record) bool {
		bytes := 0
		for _, rec := range recs {
			bytes += len(rec.Payload.After.Bytes())
		}
		return len(recs) == 1 || (limit.Records <= 0 || len(recs) <= limit.Records) && (limit.Bytes <= 0 || bytes <= limit.Bytes)
	}
	return layer{
		name:     fmt.Sprintf("limited %+v", limit),
		decorate: func(d funnel.Destination) funnel.Destination { return funnel.NewLimitedDestination(d, limit) },
		play: func(ctx context.Context, d funnel.Destination, recs []opencdc.Record, yield yields) {
			if fits(recs) {
				if err := d.Write(ctx, recs); !yield(nil, err) || err != nil {
					return
				}
				for yield(d.Ack(ctx)) {
				}
				return
			}
			for first := true; len(recs) > 0; first = false {
				n := 1
				for n < len(recs) && fits(recs[:n+1]) {
					n++
				}
				if err := d.Write(ctx, recs[:n:n]); err != nil {
					yield(nil, err)
					return
				}
				if first {
					yield(nil, nil)
				}
				acks, err := modelAcks(ctx, d, recs[:n])
				if len(acks) > 0 {
					yield(acks, nil)
				}
				if err != nil {
					yield(nil, err)
					return
				}
				recs = recs[n:]
			}
		},
	}
}

// retryLayer is a retry destination and its model. The model gets all numbers, without
// defaults.
func retryLayer(retry funnel.DestinationRetry) layer {
	isRetryable := func(ctx context.Context, err error) bool {
		return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
			!(ctx.Err() != nil && errors.Is(err, context.Cause(ctx))) && (retry.Retryable == nil || retry.Retryable(err))
	}
	return layer{
		name:     fmt.Sprintf("retry %+v", retry),
		decorate: func(d funnel.Destination) funnel.Destination { return funnel.NewRetryDestination(d, retry) },
		play: func(ctx context.Context, d funnel.Destination, recs []opencdc.Record, yield yields) {
			decided := make(map[int]connector.DestinationAck)
			returned := 0
			for attempt := 1; returned < len(recs); attempt++ {
				if attempt > 1 && !modelSleeps(ctx, min(retry.MaxPause, retry.MinPause<<(attempt-2))) {
					yield(nil, ctx.Err())
					return
				}
				var indices []int
				var again []opencdc.Record
				for i, rec := range recs {
					if _, ok := decided[i]; !ok {
						indices, again = append(indices, i), append(again, rec)
					}
				}
				if err := d.Write(ctx, slices.Clip(again)); err != nil {
					yield(nil, err)
					return
				}
				if attempt == 1 {
					yield(nil, nil)
				}
				acks, err := modelAcks(ctx, d, again)
				for k, ack := range acks {
					if attempt == retry.MaxAttempts || !isRetryable(ctx, ack.Error) {
						decided[indices[k]] = ack
					}
				}
				var prefix []connector.DestinationAck
				for ack, ok := decided[returned]; ok; ack, ok = decided[returned] {
					prefix = append(prefix, ack)
					returned++
				}
				if len(prefix) > 0 {
					yield(prefix, nil)
				}
				if err != nil {
					yield(nil, err)
					return
				}
			}
		},
	}
}

// dice is a destination that does anything at random, and records its calls and their
// times. Only its random numbers decide.
type dice struct {
	funnel.Destination
	t       *testing.T
	rng     *rand.Rand
	faults  int // one call in so many fails in some way
	trace   *[]string
	start   time.Time
	pending []connector.DestinationAck
	last    []connector.DestinationAck // what was returned, until the next call
	count   int
}

// diceError is an error of a dice.
type diceError struct {
	number    int
	permanent bool
	cause     error
}

func (e *diceError) Error() string { return fmt.Sprintf("error %d", e.number) }
func (e *diceError) Unwrap() error { return e.cause }

func (d *dice) add(format string, args ...any) {
	*d.trace = append(*d.trace, fmt.Sprintf("%7v ", time.Since(d.start))+fmt.Sprintf(format, args...))
}

func (d *dice) err() error {
	d.count++
	return &diceError{number: d.count}
}

func (d *dice) refusal(ctx context.Context) error {
	err := d.err().(*diceError)
	switch d.rng.IntN(20) {
	case 0:
		err.permanent = true
	case 1:
		err.cause = context.Canceled
	case 2:
		err.cause = context.DeadlineExceeded
	case 3:
		err.cause = context.Cause(ctx)
	}
	return err
}

func (d *dice) Write(ctx context.Context, recs []opencdc.Record) error {
	if len(recs) == 0 || cap(recs) != len(recs) {
		d.t.Errorf("%d records were written in a slice with room for %d", len(recs), cap(recs))
	}
	var ids []string
	d.pending = nil
	for _, rec := range recs {
		id := rec.Metadata["id"]
		if id == "" || strings.ReplaceAll(string(rec.Payload.After.Bytes()), id, "") != "" {
			d.t.Errorf("record %q has the payload %q", id, rec.Payload.After)
		}
		ids = append(ids, id)
		ack := connector.DestinationAck{Position: rec.Position}
		if d.rng.IntN(4) == 0 {
			ack.Error = d.refusal(ctx)
		}
		d.pending = append(d.pending, ack)
	}
	d.add("write %v", ids)
	time.Sleep(time.Duration(d.rng.IntN(3)) * time.Millisecond)
	if d.rng.IntN(d.faults) == 0 {
		return d.err()
	}
	return nil
}

func (d *dice) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	d.add("ack")
	time.Sleep(time.Duration(d.rng.IntN(3)) * time.Millisecond)
	for i := range d.last {
		d.last[i] = connector.DestinationAck{Position: opencdc.Position("reused"), Error: errors.New("reused")}
	}
	n := len(d.pending)
	if d.rng.IntN(3) > 0 {
		n = d.rng.IntN(n + 1)
	}
	d.last = slices.Clone(d.pending[:n])
	d.pending = d.pending[n:]
	if d.rng.IntN(d.faults) == 0 {
		switch d.rng.IntN(4) {
		case 0:
			d.last = append(d.last, connector.DestinationAck{Position: opencdc.Position("another")})
		case 1:
			d.last = slices.Insert(d.last, 0, connector.DestinationAck{Position: opencdc.Position("another")})
		case 2:
			d.last, d.pending = nil, nil
		case 3:
			return d.last, d.err()
		}
	}
	return d.last, nil
}

// describe says which errors there are in an error.
func describe(err error) string {
	if err == nil {
		return "ok"
	}
	var words []string
	for _, sentinel := range []error{funnel.ErrAckMismatch, funnel.ErrAcksStopped, context.Canceled, context.DeadlineExceeded, errStack} {
		if errors.Is(err, sentinel) {
			words = append(words, sentinel.Error())
		}
	}
	var own *diceError
	if errors.As(err, &own) {
		words = append(words, own.Error())
	}
	return strings.Join(words, ", ")
}

// errStack is the cause of a context that has ended.
var errStack = errors.New("the stack's context has ended")

// A stack of limited and retry destinations makes the same calls at the same times, and
// returns the same results, as straight models of them.
func TestDestination_randomStacks(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 11))
		var layers []layer
		var names []string
		for range 1 + rng.IntN(3) {
			l := randomLayer(rng)
			layers, names = append(layers, l), append(names, l.name)
		}
		play := rng.Uint64()
		got := playStack(t, play, func(d funnel.Destination) funnel.Destination {
			for _, l := range layers {
				d = l.decorate(d)
			}
			return d
		})
		want := playStack(t, play, func(d funnel.Destination) funnel.Destination {
			for _, l := range layers {
				d = &modelled{Destination: d, layer: l}
			}
			return d
		})
		if !slices.Equal(got, want) || t.Failed() {
			same := 0
			for same < min(len(got), len(want)) && got[same] == want[same] {
				same++
			}
			t.Fatalf("seed %d, from the inside %s:\n%s\ngoes on\n%s\nwant\n%s", seed, strings.Join(names, ", "),
				strings.Join(got[:same], "\n"), strings.Join(got[same:], "\n"), strings.Join(want[same:], "\n"))
		}
	}
}

func randomLayer(rng *rand.Rand) layer {
	if rng.IntN(2) == 0 {
		return limitedLayer(funnel.WriteLimit{Records: rng.IntN(6) - 1, Bytes: rng.IntN(14) - 1})
	}
	retry := funnel.DestinationRetry{
		MaxAttempts: 1 + rng.IntN(4),
		MinPause:    time.Duration(1+rng.IntN(5)) * time.Millisecond,
		MaxPause:    time.Duration(1+rng.IntN(20)) * time.Millisecond,
	}
	if rng.IntN(2) == 0 {
		retry.Retryable = func(err error) bool { return !err.(*diceError).permanent }
	}
	return retryLayer(retry)
}

// playStack writes to a stack of destinations around a dice, and returns what both ends
// of the stack see.
func playStack(t *testing.T, seed uint64, stack func(funnel.Destination) funnel.Destination) (trace []string) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 12))
		inner := &dice{t: t, rng: rand.New(rand.NewPCG(seed, 13)), faults: 5 + rng.IntN(40), trace: &trace, start: time.Now()}
		d := stack(inner)
		ctx := t.Context()
		if rng.IntN(3) == 0 { // never at the same time as anything else
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(rng.IntN(50))*time.Millisecond+time.Microsecond, errStack)
			defer cancel()
		}
		for range 5 {
			recs := make([]opencdc.Record, 1+rng.IntN(12))
			share := 1 + rng.IntN(2)
			for i := range recs {
				id := strconv.Itoa(i)
				recs[i] = opencdc.Record{
					Position: opencdc.Position(strconv.Itoa(i / share)), // pieces may share one
					Metadata: opencdc.Metadata{"id": id},
					Payload:  opencdc.Change{After: opencdc.RawData(strings.Repeat(id, rng.IntN(4)))},
				}
			}
			inner.add("Write %d", len(recs))
			err := d.Write(ctx, recs)
			inner.add("Write: %s", describe(err))
			for acked := 0; acked < len(recs) && err == nil; {
				clear(recs) // the slice is the caller's
				var acks []connector.DestinationAck
				if acks, err = d.Ack(ctx); err != nil {
					inner.add("Ack: %s", describe(err))
				}
				for _, ack := range acks {
					inner.add("Ack: %s %s", ack.Position, describe(ack.Error))
					acked++
				}
				if len(acks) == 0 && rng.IntN(5) == 0 {
					break
				}
			}
		}
		if m, ok := d.(*modelled); ok {
			m.end()
		}
	})
	return trace
}
