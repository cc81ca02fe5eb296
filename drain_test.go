package funnel_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// draining is a worker that drains, with a source that returns what the test sends and a
// destination that writes when the test lets it.
type draining struct {
	*funnel.Worker
	*fake.Journal
	records chan string // empty for the end of the source
	write   chan struct{}
	done    chan error // gets what Do returns
	reads   int        // that have begun
	fails   bool       // writing fails
}

func startDraining(t *testing.T, ahead int, opts ...funnel.WorkerOption) *draining {
	t.Helper()
	d := &draining{Journal: &fake.Journal{}, records: make(chan string, 10), write: make(chan struct{}), done: make(chan error, 1)}
	source := fake.NewSource(d.Journal)
	source.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
		d.reads++
		select {
		case r := <-d.records:
			if r == "" {
				return nil, io.EOF
			}
			return fake.Records(r), nil
		case <-source.TornDown:
			return nil, fake.ErrTest
		}
	}
	out := fake.NewDestination(d.Journal, "out")
	out.OnWrite = func(context.Context, []opencdc.Record) error {
		<-d.write
		if d.fails {
			return fake.ErrTest
		}
		return nil
	}
	d.Worker = fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil,
		append(opts, funnel.WithReadAhead(ahead), funnel.WithDrain())...)
	fake.WantNoError(t, d.Open(t.Context()))
	go func() { d.done <- d.Do(t.Context()) }()
	return d
}

// stop calls Stop or Close, and returns a channel for its error.
func (d *draining) stop(ctx context.Context, closes bool) chan error {
	stopped := make(chan error, 1)
	go func() {
		if closes {
			stopped <- d.Close(ctx)
		} else {
			stopped <- d.Stop(ctx)
		}
	}()
	synctest.Wait()
	return stopped
}

// Stop and Close wait until everything that was read ahead is processed, including what a
// pending read returns meanwhile. No more reads begin.
func TestWithDrain(t *testing.T) {
	for _, closes := range []bool{false, true} {
		for _, ahead := range []int{1, 2, 100} {
			t.Run(fmt.Sprintf("close %t, %d ahead", closes, ahead), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := startDraining(t, ahead)
					for _, r := range []string{"1", "2", "3"} {
						d.records <- r
						synctest.Wait()
					}
					reads := d.reads
					stopped := d.stop(t.Context(), closes)
					d.records <- "4"
					d.records <- "5"
					synctest.Wait()
					close(d.write)
					fake.WantNoError(t, <-stopped)
					fake.WantNoError(t, <-d.done)
					if d.reads != reads {
						t.Errorf("%d reads began after the stop", d.reads-reads)
					}
					want := map[int]string{1: "1 2", 2: "1 2 3", 100: "1 2 3 4"}[ahead]
					d.WantGiven(t, want, "", want)
					fake.WantNoError(t, d.Close(t.Context()))
				})
			})
		}
	}
}

// If the context of Stop ends first, reading goes on.
func TestWithDrain_givesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDraining(t, 1)
		d.records <- "1"
		synctest.Wait()
		d.records <- "2"
		synctest.Wait()
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			fake.WantError(t, <-d.stop(ctx, false), context.DeadlineExceeded, `"out"`)
			cancel()
		}
		d.records <- "3"
		close(d.write)
		synctest.Wait()
		d.WantGiven(t, "1 2 3", "", "1 2 3")
		fake.WantNoError(t, <-d.stop(t.Context(), false))
		fake.WantNoError(t, <-d.done)
		fake.WantNoError(t, d.Close(t.Context()))
	})
}

// A drain ends when Do ends, whether by the end of the source, an error or its context.
func TestWithDrain_doEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDraining(t, 10)
		d.records <- "1"
		d.records <- ""
		synctest.Wait()
		stopped := d.stop(t.Context(), false)
		close(d.write)
		fake.WantNoError(t, <-d.done)
		fake.WantNoError(t, <-stopped)
		d.WantGiven(t, "1", "", "1")
		fake.WantNoError(t, d.Close(t.Context()))
	})
}

// If Do fails while a read is pending, it must tear the source down, and waits for Stop
// before it does. Stop does not wait for Do in turn.
func TestWithDrain_doFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDraining(t, 10)
		d.fails = true
		d.records <- "1"
		synctest.Wait()
		stopped := d.stop(t.Context(), false)
		close(d.write)
		fake.WantError(t, <-d.done, fake.ErrTest)
		fake.WantNoError(t, <-stopped)
		d.WantGiven(t, "1", "", "")
		fake.WantNoError(t, d.Close(t.Context()))
	})
}

// Before and after Do there is nothing to drain.
func TestWithDrain_notRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		for _, runs := range []bool{false, true} {
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), nil, funnel.WithDrain(), funnel.WithReadAhead(1))
			fake.WantNoError(t, w.Open(t.Context()))
			if runs {
				fake.WantNoError(t, w.Do(t.Context()))
			}
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, w.Close(t.Context()))
			if !runs {
				fake.WantNoError(t, w.Do(t.Context()))
			}
		}
	})
}

// An idle source is polled with pauses; Stop ends the pause without another read.
func TestWithDrain_duringPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		source := fake.NewSource(j)
		reads := 0
		source.OnRead = func(context.Context) ([]opencdc.Record, error) { reads++; return nil, nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), nil, funnel.WithReadAhead(1), funnel.WithDrain())
		fake.WantNoError(t, w.Open(t.Context()))
		done := make(chan error, 1)
		go func() { done <- w.Do(t.Context()) }()
		time.Sleep(time.Second)
		synctest.Wait()
		before := reads
		fake.WantNoError(t, w.Stop(t.Context()))
		fake.WantNoError(t, <-done)
		if reads != before {
			t.Errorf("%d reads began after the stop", reads-before)
		}
		fake.WantNoError(t, w.Close(t.Context()))
	})
}

func TestWithDrain_needsReadAhead(t *testing.T) {
	j := &fake.Journal{}
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), nil, log.Nop(), nil, funnel.WithDrain())
	fake.WantError(t, err, nil, "WithDrain needs WithReadAhead")
}
