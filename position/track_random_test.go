package position_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/position"
)

var (
	randomSeed = flag.Uint64("seed", 0, "seed of the first random life of a tracked source")
	randomRuns = flag.Int("lives", 150, "how many random lives there are")
)

// TestTrack_random runs a source to its end in several sessions. Calls of the store and of
// the source fail, panic or hang for a while, at random. Each record must be delivered; each
// session must begin after the last saved position; and the source must see its acks in
// order, each after the save, and none after the teardown.
func TestTrack_random(t *testing.T) {
	for run := range uint64(*randomRuns) {
		seed := *randomSeed + run
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func randomLife(t *testing.T, random *rand.Rand) {
	var mu sync.Mutex
	intN := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	w := &world{records: 1 + intN(30), ends: intN(2) == 0}
	rate := intN(12) // of calls that fail, in percent
	hasPanics := intN(3) == 0
	w.on = func(ctx context.Context, call string) error {
		switch n := intN(100); {
		case n < rate && hasPanics && n%3 == 0:
			panic(failure(call))
		case n < rate:
			return failure(call)
		case n < rate+10:
			time.Sleep(time.Duration(intN(40)) * time.Millisecond)
			return ctx.Err()
		}
		return nil
	}
	var opts []position.TrackOption
	if intN(2) == 0 {
		opts = append(opts, position.WithCoalescing(1+intN(5), time.Duration(1+intN(30))*time.Millisecond))
	}
	s := w.source(opts...)
	last := 0 // the last record that was delivered
	for session := 0; ; session++ {
		if session == 200 {
			w.on = nil // it has to end
		}
		if last == w.records && w.savedNumber() == last && session > 0 {
			break
		}
		begin := w.savedNumber()
		deliver := func(_ context.Context, records []opencdc.Record) error {
			for i, r := range records {
				n, _ := strconv.Atoi(string(r.Position))
				if i == 0 && begin >= 0 && n != begin+1 {
					t.Errorf("the session began at record %d, and %d was saved", n, begin)
				}
				if begin = -1; n > last+1 {
					t.Errorf("record %d was delivered, and then %d", last, n)
				}
				last = max(last, n)
			}
			return nil
		}
		runSession(t, w, s, funnel.DestinationFunc(deliver), intN)
		w.check(t)
		if t.Failed() {
			return
		}
	}
	if w.isClaimed || w.open != 0 {
		t.Errorf("at the end the position is claimed: %t; open sources: %d", w.isClaimed, w.open)
	}
}

func (w *world) savedNumber() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, _ := strconv.Atoi(w.saved)
	return n
}

// runSession runs a worker until it ends or is stopped, and closes it until that succeeds.
func runSession(t *testing.T, w *world, s funnel.Source, d funnel.Destination, intN func(int) int) {
	var opts []funnel.WorkerOption
	if intN(2) == 0 {
		opts = append(opts, funnel.WithReadAhead(1+intN(5)))
	}
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("source", s, log.Nop(), nil)}
	must(t, first.AppendToEnd(&funnel.TaskNode{Task: funnel.NewDestinationTask("destination", d, log.Nop(), nil)}))
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil, opts...)
	must(t, err)
	if attempt(func() error { return worker.Open(ctx) }) != nil {
		_ = attempt(func() error { return worker.Close(ctx) })
		return
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- attempt(func() error { return worker.Do(runCtx) }) }()
	timer := time.NewTimer(time.Duration(intN(3000)) * time.Millisecond)
	defer timer.Stop()
	var errDo error
	select {
	case errDo = <-done:
	case <-timer.C:
		if intN(2) == 0 {
			cancel()
		} else {
			_ = attempt(func() error { return worker.Stop(ctx) })
		}
		defer cancel()
	}
	for i := 0; ; i++ {
		if i == 300 {
			w.mu.Lock()
			w.on = nil
			w.mu.Unlock()
		}
		if err := attempt(func() error { return worker.Close(ctx) }); err == nil {
			break
		} else if i > 310 {
			t.Fatalf("Close fails for ever: %v", err)
		}
	}
	if errDo == nil {
		select {
		case <-done:
		default:
			cancel()
		}
	}
	synctest.Wait()
}

// attempt makes a panic an error.
func attempt(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			var failed failure
			if e, ok := value.(error); !ok || !errors.As(e, &failed) {
				panic(value)
			}
			err = errors.New("it has panicked")
		}
	}()
	return f()
}

// TestTrack_conformance runs the tests of sources.
func TestTrack_conformance(t *testing.T) {
	for name, opts := range map[string][]position.TrackOption{
		"each Ack saves": nil,
		"coalescing":     {position.WithCoalescing(3, time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			stores := make(map[funnel.Source]string)
			open := func(t testing.TB, dir string) funnel.Source {
				w := &world{records: 20}
				s := position.Track("orders", newFiles(t, dir), w.make, opts...)
				stores[s] = dir
				return s
			}
			funneltest.TestSource(t, funneltest.SourceConformance{
				New: func(t testing.TB) funnel.Source { return open(t, filepath.Join(t.TempDir(), "positions")) },
				Reopen: func(t testing.TB, old funnel.Source) funnel.Source {
					return open(t, stores[old])
				},
				AckDuringRead: true,
				Timeout:       2 * time.Second,
			})
		})
	}
}
