package funnel_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// drawnWrite is a Write, and what the lanes do in it.
type drawnWrite struct {
	recs  []opencdc.Record
	acks  []connector.DestinationAck
	lanes []*drawnLane

	mu      sync.Mutex
	running int // calls of lanes
}

// drawnLane is a lane during a Write.
type drawnLane struct {
	number int
	rng    *rand.Rand
	ends   string        // "well", "error", "panic", "goexit", or "hangs" until its context ends
	after  time.Duration // how long Write takes, different for each lane
	acks   int           // how many acks it returns before it ends, or -1 if Write does not return
	err    error         // of this lane alone

	given   []opencdc.Record
	pending []connector.DestinationAck
	empty   int // calls of Ack in a row that returned nothing
}

// drawWrite draws a Write.
func drawWrite(rng *rand.Rand, lanes int) *drawnWrite {
	w := &drawnWrite{}
	keys := []string{"", "a", "b", "c", "d", "e", "f"}
	keys = keys[rng.IntN(2):][:1+rng.IntN(6)]
	for i := range 1 + rng.IntN(20) {
		rec := fake.Records(keys[rng.IntN(len(keys))] + strconv.Itoa(i))[0]
		ack := connector.DestinationAck{Position: rec.Position}
		if rng.IntN(8) == 0 {
			ack.Error = fake.ErrOf(string(rec.Position))
		}
		w.recs, w.acks = append(w.recs, rec), append(w.acks, ack)
	}
	isGood := rng.IntN(2) == 0
	for number, seconds := range rng.Perm(lanes) {
		l := &drawnLane{
			number: number,
			rng:    rand.New(rand.NewPCG(rng.Uint64(), 0)),
			ends:   []string{"well", "well", "error", "panic", "goexit", "hangs"}[rng.IntN(6)],
			after:  time.Duration(seconds+1) * time.Second,
			acks:   rng.IntN(5) - 1,
			err:    fmt.Errorf("error of lane %d", number),
		}
		if isGood {
			l.ends = "well"
		}
		w.lanes = append(w.lanes, l)
	}
	return w
}

// isCalled counts a call of a lane that runs until the function is called.
func (w *drawnWrite) isCalled() (ended func()) {
	add := func(n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running += n
	}
	add(1)
	return func() { add(-1) }
}

// end ends a call of the lane as drawn.
func (l *drawnLane) end(ctx context.Context) error {
	switch l.ends {
	case "hangs":
		<-ctx.Done()
		return ctx.Err()
	case "error":
		return l.err
	case "panic":
		panic(l.err)
	default:
		runtime.Goexit()
		return nil
	}
}

// write is Write of the lane.
func (l *drawnLane) write(ctx context.Context, w *drawnWrite, recs []opencdc.Record) error {
	l.given = slices.Concat(l.given, recs)
	for _, rec := range recs {
		i := slices.IndexFunc(w.acks, func(a connector.DestinationAck) bool { return string(a.Position) == string(rec.Position) })
		l.pending = append(l.pending, w.acks[i])
	}
	if l.acks >= len(recs) {
		l.ends = "well"
	}
	time.Sleep(l.after)
	if l.ends != "well" && l.acks < 0 {
		return l.end(ctx)
	}
	return nil
}

// ack is Ack of the lane. A lane that does not end well always returns acks before.
func (l *drawnLane) ack(ctx context.Context) ([]connector.DestinationAck, error) {
	n := l.rng.IntN(min(3, len(l.pending)) + 1)
	if l.ends != "well" {
		if l.acks == 0 {
			return nil, l.end(ctx)
		}
		n = 1
		l.acks--
	}
	if l.empty++; n == 0 && l.empty == 4 {
		n = 1
	}
	if n > 0 {
		l.empty = 0
	}
	acks := l.pending[:n]
	l.pending = l.pending[n:]
	return acks, nil
}

// check compares how Write has ended, and what the lanes were given, with the contract.
func (w *drawnWrite) check(t *testing.T, p *partitioned, end fake.Ending) {
	t.Helper()
	if w.running != 0 {
		t.Errorf("%d calls of lanes are still running", w.running)
	}
	w.checkLanes(t)
	var used, failed, hanging []*drawnLane // in the order of time
	for _, l := range slices.SortedFunc(slices.Values(w.lanes), func(a, b *drawnLane) int { return cmp.Compare(a.after, b.after) }) {
		switch {
		case len(l.given) == 0:
			continue
		case l.ends == "hangs":
			hanging = append(hanging, l)
		case l.ends != "well":
			failed = append(failed, l)
		}
		used = append(used, l)
	}
	switch {
	case len(failed) > 0:
		w.checkFailure(t, failed, len(used) == 1, end)
	case len(hanging) > 0:
		end.Want(t, context.DeadlineExceeded, "lane ")
	default:
		end.Want(t, nil)
		acks, err := p.Ack(t.Context())
		fake.WantNoError(t, err)
		if !reflect.DeepEqual(acks, w.acks) {
			t.Errorf("the acks are %v, want %v", acks, w.acks)
		}
	}
	p.wantAcks(t, nil, nil)
}

// checkLanes fails the test unless each record was written once, and those with the same
// key to one lane, in order.
func (w *drawnWrite) checkLanes(t *testing.T) {
	t.Helper()
	byKey := func(recs []opencdc.Record) map[string][]string {
		positions := make(map[string][]string)
		for _, rec := range recs {
			key := cmp.Or(keyOf(rec), string(rec.Position))
			positions[key] = append(positions[key], string(rec.Position))
		}
		return positions
	}
	given := make(map[string][]string)
	for _, l := range w.lanes {
		for key, positions := range byKey(l.given) {
			if given[key] != nil {
				t.Errorf("key %q is on several lanes", key)
			}
			given[key] = positions
		}
	}
	if want := byKey(w.recs); !reflect.DeepEqual(given, want) {
		t.Errorf("the lanes were given %v, want %v", given, want)
	}
}

// checkFailure compares how Write has ended with the lanes that have failed.
func (w *drawnWrite) checkFailure(t *testing.T, failed []*drawnLane, isOnly bool, end fake.Ending) {
	t.Helper()
	firstPanic := slices.IndexFunc(failed, func(l *drawnLane) bool { return l.ends == "panic" })
	switch {
	case isOnly && failed[0].ends == "panic":
		if end.Panic != failed[0].err {
			t.Errorf("the only lane has panicked, and Write has ended with %+v", end)
		}
		return
	case isOnly && failed[0].ends == "goexit":
		end.WantExit(t)
		return
	case firstPanic >= 0:
		end.WantPanic(t, failed[firstPanic].err)
		end.Err, _ = end.Panic.(error)
	default:
		if prefix := fmt.Sprintf("lane %d: ", failed[0].number); end.Err == nil || !strings.HasPrefix(end.Err.Error(), prefix) {
			t.Errorf("the first one to fail was lane %d, and the error is %v", failed[0].number, end.Err)
		}
	}
	for _, l := range failed {
		want := l.err
		if l.ends == "goexit" {
			want = funnel.ErrGoexit
		}
		fake.WantError(t, end.Err, want)
	}
	if errors.Is(end.Err, context.Canceled) || errors.Is(end.Err, context.DeadlineExceeded) {
		t.Errorf("the error says that the context has ended: %v", end.Err)
	}
}

// Whatever the lanes do, each record is written once, those with the same key in order;
// all are acked in order, or none. What goes wrong is reported, and nothing is left
// behind.
func TestPartitionedDestination_random(t *testing.T) {
	for seed := range uint64(500) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			var now *drawnWrite
			lanes := 1 + rng.IntN(5)
			p := newPartitioned(lanes, func(lane int, d *fake.Destination) {
				d.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
					defer now.isCalled()()
					return now.lanes[lane].write(ctx, now, recs)
				}
				d.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) {
					defer now.isCalled()()
					return now.lanes[lane].ack(ctx)
				}
			})
			fake.WantNoError(t, p.Open(t.Context()))
			for range 5 {
				now = drawWrite(rng, lanes)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				end := <-fake.Call(func() error { return p.Write(ctx, now.recs) })
				now.check(t, p, end)
				cancel()
				if end.Err != nil || end.Panic != nil {
					fake.WantNoError(t, p.Teardown(t.Context()))
					fake.WantNoError(t, p.Open(t.Context()))
				}
			}
			fake.WantNoError(t, p.Teardown(t.Context()))
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}
