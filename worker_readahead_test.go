package funnel_test

import (
	"context"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// With the option, a worker reads on a goroutine of its own, with a context that ends
// when Do returns. Without it, the worker reads on the goroutine of Do, with the very
// context of Do.
func TestWithReadAhead_isOffByDefault(t *testing.T) {
	for _, n := range []int{0, 1} {
		s := fake.SourceOf(&fake.Journal{})
		ctx := t.Context()
		var got context.Context
		s.OnRead = func(readCtx context.Context) ([]opencdc.Record, error) {
			got = readCtx
			if (got == ctx) != (n == 0) {
				t.Errorf("%d: the context is that of Do: %v", n, got == ctx)
			}
			buf := make([]byte, 10_000)
			stack := string(buf[:runtime.Stack(buf, false)])
			if strings.Contains(stack, "(*Worker).Do(") != (n == 0) {
				t.Errorf("%d: the source is read by\n%s", n, stack)
			}
			return nil, io.EOF
		}
		fake.WantNoError(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(&fake.Journal{})), nil, fake.Ahead(n)...).Do(ctx))
		if (got.Err() == nil) != (n == 0) {
			t.Errorf("%d: after Do, the context's error is %v", n, got.Err())
		}
	}
}

// runFor runs a pipeline of a source and a destination, and returns how long that takes.
func runFor(t *testing.T, ahead int, s *fake.Source, d *fake.Destination) time.Duration {
	t.Helper()
	start := time.Now()
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(d)), nil, fake.Ahead(ahead)...)))
	return time.Since(start)
}

// Reading and writing together take only the time of the slower one. Single records
// become batches, so a destination with a cost per write needs a fraction of the time.
func TestWithReadAhead_throughput(t *testing.T) {
	for _, tt := range []struct {
		name    string
		records int
		read    time.Duration // how long each read takes
		ahead   int
		most    time.Duration
		least   float64 // how many times faster
	}{
		{"a source as slow as the destination", 1000, time.Millisecond, 1, 1001 * time.Millisecond, 1.9},
		{"and further ahead", 1000, time.Millisecond, 100, 1001 * time.Millisecond, 1.9},
		{"a source that costs nothing", 10_000, 0, 100, 101 * time.Millisecond, 20},
		{"and further ahead", 10_000, 0, 1000, 11 * time.Millisecond, 20},
	} {
		synctest.Test(t, func(t *testing.T) {
			took := func(ahead int) time.Duration {
				j := &fake.Journal{}
				return runFor(t, ahead, fake.SteadySource(j, tt.records, tt.read), fake.SlowDestination(j, "out", time.Millisecond))
			}
			sequential := took(0)
			if want := time.Duration(tt.records) * (tt.read + time.Millisecond); sequential != want {
				t.Errorf("%s: the sequential walk took %v, want %v", tt.name, sequential, want)
			}
			if got := took(tt.ahead); got > tt.most || float64(sequential)/float64(got) < tt.least {
				t.Errorf("%s: took %v, the sequential walk %v", tt.name, got, sequential)
			}
		})
	}
}

// The records that arrive while a batch is in flight become the next batch.
func TestWithReadAhead_naturalBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		var sizes []int
		d := fake.NewDestination(j, "out")
		d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			sizes = append(sizes, len(recs))
			time.Sleep(10_300 * time.Microsecond) // never at the same time as a read
			return nil
		}
		runFor(t, 100, fake.SteadySource(j, 60, time.Millisecond), d)
		// Records arrive at 1, 2, ... ms; batches begin at 1, 11.3, 21.6, ... ms.
		if want := []int{1, 10, 10, 10, 11, 10, 8}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v records, want %v", sizes, want)
		}
	})
}

// If the pipeline is faster than its source, read-ahead delivers no record later.
func TestWithReadAhead_addsNoLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delivered := func(ahead int) (at []time.Duration) {
			start := time.Now()
			j := &fake.Journal{}
			s := fake.SteadySource(j, 50, 0)
			read, i := s.OnRead, 0
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				i++
				time.Sleep(time.Until(start.Add(time.Duration(i) * 3 * time.Millisecond)))
				return read(ctx)
			}
			d := fake.NewDestination(j, "out")
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				for range recs {
					at = append(at, time.Since(start))
				}
				time.Sleep(time.Millisecond)
				return nil
			}
			runFor(t, ahead, s, d)
			return at
		}
		want := delivered(0)
		for _, ahead := range []int{1, 100} {
			if got := delivered(ahead); !slices.Equal(got, want) {
				t.Errorf("%d ahead: records were delivered at %v, want %v", ahead, got, want)
			}
		}
	})
}

// No read begins while n records wait. One begins as soon as fewer do.
func TestWithReadAhead_bound(t *testing.T) {
	for _, tt := range []struct{ ahead, size, reads int }{
		{1, 1, 1}, {2, 1, 2}, {100, 1, 100},
		{10, 3, 4}, {10, 5, 2}, {10, 10, 1}, {10, 25, 1}, {1, 7, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			s, d := fake.NewSource(j), fake.NewDestination(j, "out")
			var reads atomic.Int32
			writing, goOn, readOn := make(chan int), make(chan struct{}), make(chan struct{})
			s.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if reads.Add(1) == 2 {
					<-readOn // until the first batch is in flight
				}
				return fake.Numbered(tt.size), nil
			}
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				writing <- len(recs)
				<-goOn
				return nil
			}
			w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(d)), nil, fake.Ahead(tt.ahead)...)
			done := fake.Start(t.Context(), w)
			want := 1
			for i := range 5 {
				got := <-writing
				if got != want*tt.size {
					t.Errorf("%v: batch %d has %d records, want those of %d reads", tt, i, got, want)
				}
				if i == 0 {
					close(readOn)
				}
				synctest.Wait()
				if got, want := int(reads.Load()), 1+(i+1)*tt.reads; got != want {
					t.Errorf("%v: %d reads with %d batches on their way, want %d", tt, got, i+1, want)
				}
				want = tt.reads
				if i < 4 {
					goOn <- struct{}{}
				}
			}
			stopped := make(chan error)
			go func() { stopped <- w.Stop(t.Context()) }()
			synctest.Wait()
			close(goOn)
			fake.WantNoError(t, <-stopped)
			(<-done).Want(t, nil)
		})
	}
}

// Acks, writes and dead letters come in the same order as without read-ahead.
func TestWithReadAhead_order(t *testing.T) {
	verdicts := func() fake.Answers {
		return fake.Answers{
			"2": fake.Filter, "3": fake.Fail, "5": fake.Split(3), "8": fake.SecondTime(fake.Pass), "9": fake.SecondTime(fake.Fail), "10": fake.Filter,
			"13": fake.SecondTime(fake.Split(2)), "14": fake.Fail, "15": fake.Fail, "20": fake.Filter,
		}
	}
	out := "1 4 5a 5b 5c 6 7 8 11 12 13a 13b 16 17 18 19"
	dlq := "3 6 9 14 15 18"
	all := "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"
	for _, ahead := range []int{0, 1, 3, 100} {
		for _, slow := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				s := &fake.StrictSource{T: t, Source: fake.SourceOf(j, "1 2 3", "4 5", "6", "7", "8", "9", "10 11 12 13 14 15", "16 17 18 19", "20")}
				s.OnAck = func(context.Context, []opencdc.Position) error { time.Sleep(slow); return nil }
				d := fake.SlowDestination(j, "out", slow)
				d.Refuse["6"], d.Refuse["18"] = fake.ErrTest, fake.ErrTest
				w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Through("p", fake.ByPosition(verdicts())), fake.To(d)), fake.DLQ(j), fake.Ahead(ahead)...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				j.WantGiven(t, out, dlq, all)
			})
		}
	}
}

// Records that the first task settles are settled at once, before records that were read
// earlier and are still buffered or in flight.
func TestWithReadAhead_firstTaskSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s := &fake.StrictSource{T: t, Source: fake.SourceOf(j, "1", "2 3", "4", "5 6", "7")}
		s.OnAck = func(context.Context, []opencdc.Position) error { time.Sleep(time.Millisecond); return nil }
		var w *funnel.Worker
		first := fake.FromThen(s, func(ctx context.Context, b *funnel.Batch) error {
			switch string(b.ActiveRecords()[0].Position) {
			case "2":
				return w.Ack(ctx, b)
			case "5":
				b.Retry(0, 2) // a mark changes nothing
				return w.Nack(ctx, b, "source")
			}
			return nil
		})
		w = fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", 10*time.Millisecond))), fake.DLQ(j), funnel.WithReadAhead(100))
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.WantGiven(t, "1 4 7", "5 6", "2 3 5 6 1 4 7")
		j.Want(t, "out", "out 1", "out 4", "out 7")
	})
}
