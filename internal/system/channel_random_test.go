package system_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// However often workers fail, stop or are interrupted, every record from the channel is
// written, those of a worker in order, and everyone who has sent a record learns what became
// of it.
func TestChannelSource_randomLives(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playChannel(t, seed) })
		})
	}
}

func playChannel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 31))
	const n = 300
	records := make(chan opencdc.Record, n)
	s := funnel.NewChannelSource(records)
	var source funnel.Source = s
	if rng.IntN(3) == 0 {
		source = funnel.NewBatchingSource(s, funnel.BatchPolicy{Records: 1 + rng.IntN(50), Period: time.Duration(rng.IntN(20)) * time.Millisecond})
	}
	var others sync.WaitGroup
	others.Go(func() { // sends into the channel
		for i := range n {
			time.Sleep(time.Duration(i%7) * 100 * time.Microsecond)
			records <- opencdc.Record{Metadata: opencdc.Metadata{"number": fmt.Sprint(i)}}
		}
		close(records)
	})
	stopped := make(chan struct{})
	for i := range 3 {
		others.Go(func() {
			for {
				select {
				case <-stopped:
					return
				case <-time.After(time.Duration(1+i) * 7 * time.Millisecond):
				}
				outcome, err := s.Send(t.Context(), opencdc.Record{})
				if outcome == funnel.OutcomeDelivered == (err != nil) || err != nil && !errors.Is(err, funnel.ErrNotDelivered) {
					t.Errorf("Send: %v, %v", outcome, err)
				}
			}
		})
	}

	written := make(map[string]bool)
	for isLast := false; !isLast; {
		isLast = len(records) == 0 && rng.IntN(4) == 0
		playChannelWorker(t, rng, source, isLast, written)
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
	}
	close(stopped)
	others.Wait()
	if len(written) != n {
		t.Errorf("%d of %d records were written", len(written), n)
	}
}

// playChannelWorker runs a worker to its end, which comes early unless it is the last one.
func playChannelWorker(t *testing.T, rng *rand.Rand, source funnel.Source, isLast bool, written map[string]bool) {
	var opts []funnel.WorkerOption
	if rng.IntN(3) == 0 {
		opts = append(opts, funnel.WithReadAhead(1+rng.IntN(100)))
	}
	out := fake.NewDestination(&fake.Journal{}, "out")
	last := -1
	slow, failsAt := time.Duration(rng.IntN(5))*time.Millisecond, rng.IntN(30)
	out.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
		time.Sleep(slow)
		if failsAt--; failsAt == 0 && !isLast {
			return fake.ErrTest
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, rec := range recs {
			text, ok := rec.Metadata["number"]
			if !ok {
				continue // from Send
			}
			var number int
			if _, err := fmt.Sscan(text, &number); err != nil || number <= last {
				t.Errorf("record %s comes after %d", text, last)
			}
			last = number
			written[text] = true
		}
		return nil
	}
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil, opts...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if !isLast {
		end := func() { _ = w.Stop(t.Context()) }
		if rng.IntN(2) == 0 {
			end = cancel
		}
		timer := time.AfterFunc(time.Duration(rng.IntN(100))*time.Millisecond, end)
		defer timer.Stop()
	}
	if rng.IntN(4) > 0 {
		fake.WantNoError(t, w.Open(t.Context()))
	} else {
		fake.WantNoError(t, source.Open(t.Context())) // by the host
	}
	if err := w.Do(ctx); isLast && err != nil {
		t.Errorf("the last worker: %v", err)
	}
	fake.WantNoError(t, w.Close(t.Context()))
}
