package system_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/fake"
)

// Goroutines call all methods of a worker at random, and every callback may fail,
// panic, end its goroutine or wait. No call waits for ever, and what is opened is
// closed as often.
func TestWorker_randomLives(t *testing.T) {
	lives := 3_000
	if testing.Short() {
		lives = 300
	}
	for seed := range lives {
		synctest.Test(t, func(t *testing.T) {
			randomLife(t, rand.New(rand.NewPCG(uint64(seed), 7)), fmt.Sprint("seed ", seed))
		})
	}
}

// live is a part that is opened and closed, and fails at times.
type live struct {
	name           string
	mu             sync.Mutex
	rnd            *rand.Rand
	open           bool
	faults         int // how many are left
	opens, doubles int
}

// fault fails, panics, ends the goroutine or waits.
func (l *live) fault() error {
	l.mu.Lock()
	n := 9
	if l.faults > 0 {
		n = l.rnd.IntN(10)
	}
	if n < 3 {
		l.faults--
	}
	l.mu.Unlock()
	switch n {
	case 0:
		return fake.ErrTest
	case 1:
		panic(fake.ErrTest)
	case 2:
		runtime.Goexit()
	case 3:
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (l *live) opened() error {
	if err := l.fault(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.doubles++
	}
	l.open = true
	l.opens++
	return nil
}

func (l *live) closed() error {
	if err := l.fault(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open && l.opens > 0 {
		l.doubles++
	}
	l.open = false
	return nil
}

// randomLife draws a pipeline and a life of its worker.
func randomLife(t *testing.T, rnd *rand.Rand, name string) {
	j := &fake.Journal{}
	var all []*live
	newLive := func(name string) *live {
		l := &live{name: name, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 1)), faults: rnd.IntN(3)}
		all = append(all, l)
		return l
	}
	source := fake.SourceOf(j, "1 2", "3", "4 5")
	source.Endless = rnd.IntN(2) == 0
	source.Reading = make(chan struct{}, 100)
	s := newLive("source")
	source.OnOpen = func(context.Context) error { return s.opened() }
	source.OnTeardown = func(context.Context) error { return s.closed() }
	destination := func(name string) *fake.Destination {
		d, l := fake.NewDestination(j, name), newLive(name)
		d.OnOpen = func(context.Context) error { return l.opened() }
		d.OnTeardown = func(context.Context) error { return l.closed() }
		works := newLive(name + " at work")
		d.OnWrite = func(context.Context, []opencdc.Record) error { return works.fault() }
		return d
	}
	first := fake.From(source)
	if rnd.IntN(2) == 0 {
		first = fake.FromThen(source, nil)
	}
	if first.Next = append(first.Next, fake.To(destination("a"))); rnd.IntN(2) == 0 {
		first.Next = append(first.Next, fake.To(destination("b")))
	}
	w := fake.NewWorker(t, first, fake.Queue(destination("dlq")), fake.Ahead(rnd.IntN(3))...)

	var calls sync.WaitGroup
	var pending atomic.Int64
	call := func(f func(ctx context.Context)) {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if rnd.IntN(3) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(5))*time.Millisecond)
		}
		pending.Add(1)
		calls.Go(func() {
			defer pending.Add(-1)
			defer cancel()
			defer func() { _ = recover() }()
			f(ctx)
		})
	}
	for range 3 + rnd.IntN(8) {
		switch rnd.IntN(5) {
		case 0:
			call(func(ctx context.Context) { _ = w.Open(ctx) })
		case 1:
			call(func(ctx context.Context) { _ = w.Do(ctx) })
		case 2:
			call(func(ctx context.Context) { _ = w.Stop(ctx) })
		case 3:
			call(func(ctx context.Context) { _ = w.Close(ctx) })
		case 4:
			if rnd.IntN(2) == 0 {
				synctest.Wait()
			} else {
				time.Sleep(time.Millisecond)
			}
		}
	}
	// Whatever has happened, a few calls of Close end everything.
	for range 12 {
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer func() { _ = recover() }()
			_ = w.Close(t.Context())
		}()
		select {
		case <-over:
		case <-time.After(time.Minute):
			t.Fatalf("%s: Close does not return", name)
		}
	}
	over := make(chan struct{})
	go func() { calls.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatalf("%s: %d calls do not return", name, pending.Load())
	}
	var wrong []string
	for _, l := range all {
		if l.open || l.doubles > 0 {
			wrong = append(wrong, fmt.Sprintf("%s is open: %t, opened or closed twice: %d", l.name, l.open, l.doubles))
		}
	}
	if wrong != nil {
		t.Fatalf("%s: %s\ncalls:\n%s", name, strings.Join(wrong, ", "), strings.Join(j.Lines(""), "\n"))
	}
}
