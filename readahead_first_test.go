package funnel_test

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// A first task of one's own may do with its batches what it likes, some of which
// is seen in the dead-letter queue. Marked or not, they come out as they do from
// the sequential walk.
func TestWithReadAhead_customFirstTask(t *testing.T) {
	var w *funnel.Worker
	edits := map[string]func(context.Context, *funnel.Batch) error{
		"2": func(_ context.Context, b *funnel.Batch) error { b.Nack(0, fake.ErrOf("2")); return nil },
		"4": func(_ context.Context, b *funnel.Batch) error { b.Filter(1); return nil },
		"6": func(_ context.Context, b *funnel.Batch) error { b.Filter(0); return nil },
		"7": func(_ context.Context, b *funnel.Batch) error {
			b.SplitRecord(0, fake.Pieces(b.ActiveRecords()[0], 2))
			return nil
		},
		"9": func(_ context.Context, b *funnel.Batch) error {
			b.SetRecords(0, fake.Records("9new"))
			return nil
		},
		"12": func(_ context.Context, b *funnel.Batch) error {
			*b = *funnel.NewBatch(append(fake.Records("11new"), b.ActiveRecords()...))
			return nil
		},
		"13": func(_ context.Context, b *funnel.Batch) error {
			*b = *funnel.NewBatch(b.ActiveRecords())
			b.Nack(1)
			return nil
		},
		"15": func(_ context.Context, b *funnel.Batch) error {
			b.Retry(0) // but not for long
			b.Ack(0)
			return nil
		},
	}
	for _, ahead := range []int{0, 1, 100} {
		for _, slow := range []time.Duration{0, time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				s := &fake.StrictSource{T: t, Source: fake.SourceOf(j, "1", "2 3", "4 5", "6", "7", "8", "9", "10", "12", "13 14", "15", "16")}
				first := fake.FromThen(s, func(ctx context.Context, b *funnel.Batch) error {
					if edit := edits[string(b.ActiveRecords()[0].Position)]; edit != nil {
						return edit(ctx, b)
					}
					return nil
				})
				w = fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", slow))), fake.Queue(fake.NewDestination(j, "dlq")), fake.Ahead(ahead)...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				j.WantGiven(t, "1 3 4 7a 7b 8 9new 10 11new 12 13 15 16", "2 14", "1 2 3 4 5 6 7 8 9 10 11new 12 13 14 15 16")
			})
		}
	}
}

// What the first task settles itself is settled at once, before what was read
// earlier and is still on its way.
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
				b.Retry(0, 2) // whatever it was marked as
				return w.Nack(ctx, b, "source")
			}
			return nil
		})
		w = fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", 10*time.Millisecond))), fake.Queue(fake.NewDestination(j, "dlq")), funnel.WithReadAhead(100))
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.WantGiven(t, "1 4 7", "5 6", "2 3 5 6 1 4 7")
		j.Want(t, "out", "out 1", "out 4", "out 7")
	})
}

// A first task that puts a zero Batch in the place of one that it has read has
// lost it, which is an error. Nothing else is taken for what it has lost.
func TestWithReadAhead_firstTaskLosesRecords(t *testing.T) {
	for _, ahead := range []int{0, 1, 100} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			s := fake.SourceOf(j, "1", "2", "3 4", "5")
			first := fake.FromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if string(b.ActiveRecords()[0].Position) == "3" {
					*b = funnel.Batch{}
				}
				return nil
			})
			err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", time.Millisecond))), nil, fake.Ahead(ahead)...))
			fake.WantError(t, err, nil, "2 of 2 records", "lost")
			j.WantGiven(t, "1 2", "", "1 2")
		})
	}
}

// A first task that makes batches of its own, zero ones if it has nothing.
func TestWithReadAhead_firstTaskMakesBatches(t *testing.T) {
	for _, ahead := range []int{1, 100} {
		j := &fake.Journal{}
		own := fake.Node(&ownSource{source: fake.SourceOf(j, "1", "", "2 3", "4")})
		fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(own, fake.To(fake.NewDestination(j, "out"))), nil, fake.Ahead(ahead)...)))
		j.WantGiven(t, "1 2 3 4", "", "1 2 3 4")
	}
}

// A first task is not given records again while it may be reading others.
func TestWithReadAhead_firstTaskIsNotRetried(t *testing.T) {
	for _, tt := range []struct {
		name  string
		retry func(b *funnel.Batch)
	}{
		{"one", func(b *funnel.Batch) { b.Retry(1) }},
		{"the rest", func(b *funnel.Batch) { b.Retry(1, 3) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			first := fake.FromThen(fake.SourceOf(j, "1", "2 3 4", "5"), func(_ context.Context, b *funnel.Batch) error {
				if len(b.ActiveRecords()) > 1 {
					tt.retry(b)
				}
				return nil
			})
			err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", time.Millisecond))), nil, funnel.WithReadAhead(100)))
			fake.WantError(t, err, nil, `"source"`, "again", "read ahead")
			fake.WantFatal(t, err, true)
			j.WantGiven(t, "1", "", "1")
		})
	}
}

// The timer gets the time since the read of each record has returned, unless the
// record says itself when it was read.
func TestWithReadAhead_timer(t *testing.T) {
	for _, ahead := range []int{1, 4, 100} {
		synctest.Test(t, func(t *testing.T) {
			j, timer := &fake.Journal{}, &fake.Timer{}
			var mu sync.Mutex // Ack runs beside Read
			readAt := make(map[string]time.Time)
			var want []time.Duration
			s := fake.SteadySource(j, 30, time.Millisecond)
			read := s.OnRead
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				recs, err := read(ctx)
				mu.Lock()
				defer mu.Unlock()
				for i := range recs {
					p := string(recs[i].Position)
					readAt[p] = time.Now()
					if strings.HasSuffix(p, "5") {
						readAt[p] = time.Unix(0, time.Now().Add(-time.Minute).UnixNano())
						recs[i].Metadata.SetReadAt(readAt[p])
					}
				}
				return recs, err
			}
			s.OnAck = func(_ context.Context, positions []opencdc.Position) error {
				mu.Lock()
				defer mu.Unlock()
				for _, p := range positions {
					want = append(want, time.Since(readAt[string(p)]))
				}
				return nil
			}
			first := fake.FromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if p := b.ActiveRecords()[0].Position; p[len(p)-1] == '7' {
					b.Nack(0, fake.ErrTest) // such a batch is timed like any other
				}
				return nil
			})
			p := fake.ByPosition(fake.Answers{"3": fake.Fail, "14": fake.Filter, "16": fake.Split(2)})
			d := fake.SlowDestination(j, "out", 7300*time.Microsecond)
			w := fake.NewTimedWorker(t, fake.Chain(first, fake.Through("p", p), fake.To(d)), fake.Queue(fake.NewDestination(j, "dlq")), timer, fake.Ahead(ahead)...)
			fake.WantNoError(t, fake.RunWorker(t, w))
			if !slices.Equal(timer.Observed, want) || len(want) != 30 {
				t.Errorf("%d ahead: observed\n%v, want\n%v", ahead, timer.Observed, want)
			}
		})
	}
}

// A timer that begins to report while records wait gets the time since their
// batch began.
func TestWithReadAhead_timerOfASet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		set, timer := metrics.NewSet(), &fake.Timer{}
		d := fake.NewDestination(j, "out")
		d.OnWrite = func(context.Context, []opencdc.Record) error {
			time.Sleep(2500 * time.Microsecond)
			if len(d.Written) == 1 {
				set.Register(timerRegistry{timer: timer})
			}
			time.Sleep(time.Millisecond)
			return nil
		}
		first := fake.Chain(fake.From(fake.SteadySource(j, 5, time.Millisecond)), fake.To(d))
		w := fake.NewTimedWorker(t, first, nil, set.NewTimer(metrics.Desc{Name: "t"}).WithValues(), funnel.WithReadAhead(100))
		fake.WantNoError(t, fake.RunWorker(t, w))
		// The timer reports from 3.5 ms on. By then 2 and 3 wait, 4 joins them, and at
		// 4.5 ms they become a batch. 5 is read at 5 ms, and processed from 8 ms on.
		ms := time.Millisecond
		if want := []time.Duration{7 * ms / 2, 7 * ms / 2, 7 * ms / 2, 13 * ms / 2}; !slices.Equal(timer.Observed, want) {
			t.Errorf("observed %v, want %v", timer.Observed, want)
		}
	})
}

// flickering is a timer that somebody listens to only the third time that it is
// asked.
type flickering struct {
	fake.Timer
	asked int
}

func (t *flickering) Enabled() bool { t.asked++; return t.asked == 3 }

// A timer may be of interest to somebody for a while only.
func TestWithReadAhead_flickeringTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s := fake.NewSource(j)
		reads, busy := 0, make(chan struct{})
		s.OnRead = func(context.Context) ([]opencdc.Record, error) {
			if reads++; reads == 2 {
				<-busy // with the first one, so that the others wait together
			}
			if reads == 5 {
				return nil, io.EOF
			}
			return fake.Records(strconv.Itoa(reads)), nil
		}
		slow := fake.Custom("slow", func(_ context.Context, b *funnel.Batch) error {
			if string(b.ActiveRecords()[0].Position) == "1" {
				close(busy)
				time.Sleep(time.Second)
			}
			return nil
		})
		nodes := fake.Chain(fake.From(s), slow, fake.To(fake.NewDestination(j, "out")))
		w, err := funnel.NewWorker(nodes, nil, log.Nop(), &flickering{}, funnel.WithReadAhead(100))
		fake.WantNoError(t, err)
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "ack", "ack 1", "ack 2 3 4")
	})
}
