package funnel_test

import (
	"context"
	"fmt"
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
	"github.com/conduitio/funnel/metrics"
	"github.com/conduitio/funnel/metrics/noop"
)

// The timer observes, for each source record, the time from its read to its ack.
func TestTimer(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		recs := fake.Records("1", "2", "3", "4")
		recs[0].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		recs[1].Metadata[opencdc.MetadataReadAt] = "no time"
		recs[3].Metadata = nil
		timer := &fake.Timer{}
		p := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Split(2), "4": fake.Filter})
		first := fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Through("p", p), fake.To(fake.SlowDestination(j, "out", time.Second)))
		fake.WantNoError(t, fake.RunWorker(t, fake.NewTimedWorker(t, first, fake.DLQ(j), timer, opts...)))
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

// A record is timed from when its own read returned, however many reads its batch has
// and whatever the first task does with it, unless the record says when it was read.
func TestTimer_ofEachRead(t *testing.T) {
	for _, ahead := range []int{0, 1, 4, 100} {
		t.Run(fmt.Sprint("ahead ", ahead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testTimerOfEachRead(t, fake.Ahead(ahead)...) })
		})
	}
}

func testTimerOfEachRead(t *testing.T, opts ...funnel.WorkerOption) {
	j, timer := &fake.Journal{}, &fake.Timer{}
	var mu sync.Mutex // Ack runs concurrently with Read
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
			b.Nack(0, fake.ErrTest)
		}
		return nil
	})
	p := fake.ByPosition(fake.Answers{"3": fake.Fail, "14": fake.Filter, "16": fake.Split(2)})
	d := fake.SlowDestination(j, "out", 7300*time.Microsecond)
	w := fake.NewTimedWorker(t, fake.Chain(first, fake.Through("p", p), fake.To(d)), fake.DLQ(j), timer, opts...)
	fake.WantNoError(t, fake.RunWorker(t, w))
	if !slices.Equal(timer.Observed, want) || len(want) != 30 {
		t.Errorf("observed\n%v, want\n%v", timer.Observed, want)
	}
}

// The times stay with their records if the first task filters some.
func TestTimer_firstTaskFilters(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		recs, timer := fake.Records("1", "2"), &fake.Timer{}
		recs[1].Metadata.SetReadAt(time.Now().Add(-time.Minute))
		first := fake.FromThen(fake.NewSource(j, fake.Read{Records: recs}), func(_ context.Context, b *funnel.Batch) error { b.Filter(0); return nil })
		fake.WantNoError(t, fake.RunWorker(t, fake.NewTimedWorker(t, fake.Chain(first, fake.Out(j)), nil, timer, opts...)))
		if len(timer.Observed) != 2 || timer.Observed[0] != 0 || timer.Observed[1].Round(time.Second) != time.Minute {
			t.Errorf("observed %v", timer.Observed)
		}
	})
}

// A timer of a set begins to report when a registry is registered, even while the worker
// runs. Records that were read ahead before that are timed from the beginning of their
// batch.
func TestTimer_ofASet(t *testing.T) {
	ms := func(n ...float64) (all []time.Duration) {
		for _, n := range n {
			all = append(all, time.Duration(n*float64(time.Millisecond)))
		}
		return all
	}
	// The registry comes while 1 is delivered, until 4.5 ms.
	for ahead, want := range map[int][]time.Duration{
		0: ms(3.5, 3.5, 3.5, 3.5),
		1: ms(3.5, 6, 6, 6), // each is read 1 ms after the write of the previous one began
		// 2, 3 and 4 become a batch at 4.5 ms. 5 is read at 5 ms and acked at 11.5 ms.
		100: ms(3.5, 3.5, 3.5, 6.5),
	} {
		for _, where := range []string{"write", "ack"} {
			t.Run(fmt.Sprintf("ahead %d, registered in %s", ahead, where), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					set, timer := metrics.NewSet(), &fake.Timer{}
					d := fake.NewDestination(j, "out")
					register := func(here string) {
						if here == where && len(d.Written) == 1 {
							set.Register(timerRegistry{timer: timer})
						}
					}
					d.OnWrite = func(context.Context, []opencdc.Record) error {
						time.Sleep(2500 * time.Microsecond)
						register("write")
						time.Sleep(time.Millisecond)
						return nil
					}
					s := fake.SteadySource(j, 5, time.Millisecond)
					s.OnAck = func(context.Context, []opencdc.Position) error { register("ack"); return nil }
					w := fake.NewTimedWorker(t, fake.Chain(fake.From(s), fake.To(d)), nil, set.NewTimer(metrics.Desc{Name: "t"}).WithValues(), fake.Ahead(ahead)...)
					fake.WantNoError(t, fake.RunWorker(t, w))
					if !slices.Equal(timer.Observed, want) {
						t.Errorf("observed %v, want %v", timer.Observed, want)
					}
				})
			})
		}
	}
}

// flickering is a timer that is enabled only the third time that it is asked.
type flickering struct {
	fake.Timer
	asked int
}

func (t *flickering) Enabled() bool { t.asked++; return t.asked == 3 }

// A timer may be enabled for a while only.
func TestTimer_flickering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		s := fake.NewSource(j)
		reads, isBusy := 0, make(chan struct{})
		s.OnRead = func(context.Context) ([]opencdc.Record, error) {
			if reads++; reads == 2 {
				<-isBusy // writing 1, so that the others are buffered together
			}
			if reads == 5 {
				return nil, io.EOF
			}
			return fake.Records(strconv.Itoa(reads)), nil
		}
		slow := fake.Custom("slow", func(_ context.Context, b *funnel.Batch) error {
			if string(b.ActiveRecords()[0].Position) == "1" {
				close(isBusy)
				time.Sleep(time.Second)
			}
			return nil
		})
		w := fake.NewTimedWorker(t, fake.Chain(fake.From(s), slow, fake.Out(j)), nil, &flickering{}, funnel.WithReadAhead(100))
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "ack", "ack 1", "ack 2 3 4")
	})
}

// timerRegistry is a registry of one timer.
type timerRegistry struct {
	noop.Registry
	timer *fake.Timer
}

func (r timerRegistry) NewTimer(metrics.Desc) metrics.LabeledTimer { return r }

func (r timerRegistry) WithValues(...string) metrics.Timer { return r.timer }
