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
	"github.com/conduitio/funnel/metrics/noop"
)

// The timer gets, for each source record, the time from its reading to its end.
func TestWorker_timer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		recs := fake.Records("1", "2", "3", "4")
		recs[0].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		recs[1].Metadata[opencdc.MetadataReadAt] = "no time"
		recs[3].Metadata = nil
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { time.Sleep(time.Second); return nil }
		timer := &fake.Timer{}
		p := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Split(2), "4": fake.Filter})
		first := fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Through("p", p), fake.To(out))
		w := fake.NewTimedWorker(t, first, fake.DLQ(j), timer)
		fake.WantNoError(t, fake.RunWorker(t, w))
		want := []time.Duration{time.Minute + time.Second, time.Second, 2 * time.Second, 2 * time.Second}
		if len(timer.Observed) != len(want) {
			t.Fatalf("observed %v, want %v", timer.Observed, want)
		}
		for i, d := range timer.Observed {
			if d.Round(time.Millisecond) != want[i] {
				t.Errorf("record %d took %v, want %v", i, d, want[i])
			}
		}
	})
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
			w := fake.NewTimedWorker(t, fake.Chain(first, fake.Through("p", p), fake.To(d)), fake.DLQ(j), timer, fake.Ahead(ahead)...)
			fake.WantNoError(t, fake.RunWorker(t, w))
			if !slices.Equal(timer.Observed, want) || len(want) != 30 {
				t.Errorf("%d ahead: observed\n%v, want\n%v", ahead, timer.Observed, want)
			}
		})
	}
}

// The times of reading are those of the right records, also if the first task has
// filtered some.
func TestWorker_timerBehindACustomFirstTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		recs, timer := fake.Records("1", "2"), &fake.Timer{}
		recs[1].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		filters := &filteringSource{funnel.NewSourceTask("source", fake.NewSource(j, fake.Read{Records: recs}), log.Nop(), nil)}
		w := fake.NewTimedWorker(t, fake.Chain(fake.Node(filters), fake.Out(j)), nil, timer)
		fake.WantNoError(t, fake.RunWorker(t, w))
		if len(timer.Observed) != 2 || timer.Observed[0] != 0 || timer.Observed[1].Round(time.Second) != time.Minute {
			t.Errorf("observed %v", timer.Observed)
		}
	})
}

type filteringSource struct{ *funnel.SourceTask }

func (s *filteringSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if b.HasActiveRecords() {
		b.Filter(0)
	}
	return err
}

// A timer of a set begins to report when a registry is registered, also while
// the worker runs.
func TestWorker_timerOfASet(t *testing.T) {
	j := &fake.Journal{}
	set, timer := metrics.NewSet(), &fake.Timer{}
	source := fake.SourceOf(j, "1", "2 3")
	source.OnAck = func(context.Context, []opencdc.Position) error {
		if len(source.Reads) > 0 {
			set.Register(timerRegistry{timer: timer})
		}
		return nil
	}
	first := fake.Chain(fake.From(source), fake.Out(j))
	w := fake.NewTimedWorker(t, first, nil, set.NewTimer(metrics.Desc{Name: "t"}).WithValues())
	fake.WantNoError(t, fake.RunWorker(t, w))
	if len(timer.Observed) != 2 {
		t.Errorf("observed %v", timer.Observed)
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

type timerRegistry struct {
	noop.Registry
	timer *fake.Timer
}

func (r timerRegistry) NewTimer(metrics.Desc) metrics.LabeledTimer { return r }

func (r timerRegistry) WithValues(...string) metrics.Timer { return r.timer }

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
		nodes := fake.Chain(fake.From(s), slow, fake.Out(j))
		w, err := funnel.NewWorker(nodes, nil, log.Nop(), &flickering{}, funnel.WithReadAhead(100))
		fake.WantNoError(t, err)
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "ack", "ack 1", "ack 2 3 4")
	})
}
