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
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// firstTask is a first task that does something with what it has read.
type firstTask struct {
	*funnel.SourceTask
	then func(context.Context, *funnel.Batch) error
}

func (f *firstTask) Do(ctx context.Context, b *funnel.Batch) error {
	err := f.SourceTask.Do(ctx, b)
	if b.HasActiveRecords() {
		if thenErr := f.then(ctx, b); thenErr != nil {
			return thenErr
		}
	}
	return err
}

func fromThen(s funnel.Source, then func(context.Context, *funnel.Batch) error) *funnel.TaskNode {
	return node(&firstTask{SourceTask: funnel.NewSourceTask("source", s, log.Nop(), nil), then: then})
}

// A first task of one's own may do with its batches what it likes, some of which
// is seen in the dead-letter queue. Marked or not, they come out as they do from
// the sequential walk.
func TestWithReadAhead_customFirstTask(t *testing.T) {
	var w *funnel.Worker
	edits := map[string]func(context.Context, *funnel.Batch) error{
		"2": func(_ context.Context, b *funnel.Batch) error { b.Nack(0, errFor("2")); return nil },
		"4": func(_ context.Context, b *funnel.Batch) error { b.Filter(1); return nil },
		"6": func(_ context.Context, b *funnel.Batch) error { b.Filter(0); return nil },
		"7": func(_ context.Context, b *funnel.Batch) error {
			b.SplitRecord(0, splitInto(b.ActiveRecords()[0], 2))
			return nil
		},
		"9": func(_ context.Context, b *funnel.Batch) error {
			b.SetRecords(0, records("9new"))
			return nil
		},
		"12": func(_ context.Context, b *funnel.Batch) error {
			*b = *funnel.NewBatch(append(records("11new"), b.ActiveRecords()...))
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
				j := &journal{}
				s := &strictSource{t: t, fakeSource: batchesOf(j, "1", "2 3", "4 5", "6", "7", "8", "9", "10", "12", "13 14", "15", "16")}
				first := fromThen(s, func(ctx context.Context, b *funnel.Batch) error {
					if edit := edits[string(b.ActiveRecords()[0].Position)]; edit != nil {
						return edit(ctx, b)
					}
					return nil
				})
				w = newAhead(t, ahead, chain(first, to(slowDestination(j, "out", slow))), queue(newDestination(j, "dlq")), nil)
				wantNoError(t, runWorker(t, w))
				j.wantFlat(t, "1 3 4 7a 7b 8 9new 10 11new 12 13 15 16", "2 14", "1 2 3 4 5 6 7 8 9 10 11new 12 13 14 15 16")
			})
		}
	}
}

// What the first task settles itself is settled at once, before what was read
// earlier and is still on its way.
func TestWithReadAhead_firstTaskSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		s := &strictSource{t: t, fakeSource: batchesOf(j, "1", "2 3", "4", "5 6", "7")}
		s.ack = func(context.Context, []opencdc.Position) error { time.Sleep(time.Millisecond); return nil }
		var w *funnel.Worker
		first := fromThen(s, func(ctx context.Context, b *funnel.Batch) error {
			switch string(b.ActiveRecords()[0].Position) {
			case "2":
				return w.Ack(ctx, b)
			case "5":
				b.Retry(0, 2) // whatever it was marked as
				return w.Nack(ctx, b, "source")
			}
			return nil
		})
		w = newAhead(t, 100, chain(first, to(slowDestination(j, "out", 10*time.Millisecond))), queue(newDestination(j, "dlq")), nil)
		wantNoError(t, runWorker(t, w))
		j.wantFlat(t, "1 4 7", "5 6", "2 3 5 6 1 4 7")
		j.want(t, []string{"out"}, "out 1", "out 4", "out 7")
	})
}

// A first task that puts a zero Batch in the place of one that it has read has
// lost it, which is an error. Nothing else is taken for what it has lost.
func TestWithReadAhead_firstTaskLosesRecords(t *testing.T) {
	for _, ahead := range []int{0, 1, 100} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			s := batchesOf(j, "1", "2", "3 4", "5")
			first := fromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if string(b.ActiveRecords()[0].Position) == "3" {
					*b = funnel.Batch{}
				}
				return nil
			})
			err := runWorker(t, newAhead(t, ahead, chain(first, to(slowDestination(j, "out", time.Millisecond))), nil, nil))
			wantError(t, err, nil, "2 of 2 records", "lost")
			j.wantFlat(t, "1 2", "", "1 2")
		})
	}
}

// A first task that makes batches of its own, zero ones if it has nothing.
func TestWithReadAhead_firstTaskMakesBatches(t *testing.T) {
	for _, ahead := range []int{1, 100} {
		j := &journal{}
		own := node(&ownSource{source: batchesOf(j, "1", "", "2 3", "4")})
		wantNoError(t, runWorker(t, newAhead(t, ahead, chain(own, to(newDestination(j, "out"))), nil, nil)))
		j.wantFlat(t, "1 2 3 4", "", "1 2 3 4")
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
			j := &journal{}
			first := fromThen(batchesOf(j, "1", "2 3 4", "5"), func(_ context.Context, b *funnel.Batch) error {
				if len(b.ActiveRecords()) > 1 {
					tt.retry(b)
				}
				return nil
			})
			err := runWorker(t, newAhead(t, 100, chain(first, to(slowDestination(j, "out", time.Millisecond))), nil, nil))
			wantError(t, err, nil, `"source"`, "again", "read ahead")
			if !funnel.IsFatalError(err) {
				t.Errorf("%s: error is not fatal: %v", tt.name, err)
			}
			j.wantFlat(t, "1", "", "1")
		})
	}
}

// The timer gets the time since the read of each record has returned, unless the
// record says itself when it was read.
func TestWithReadAhead_timer(t *testing.T) {
	for _, ahead := range []int{1, 4, 100} {
		synctest.Test(t, func(t *testing.T) {
			j, timer := &journal{}, &fakeTimer{}
			var mu sync.Mutex // Ack runs beside Read
			readAt := make(map[string]time.Time)
			var want []time.Duration
			s := steadySource(j, 30, time.Millisecond)
			read := s.read
			s.read = func(ctx context.Context) ([]opencdc.Record, error) {
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
			s.ack = func(_ context.Context, positions []opencdc.Position) error {
				mu.Lock()
				defer mu.Unlock()
				for _, p := range positions {
					want = append(want, time.Since(readAt[string(p)]))
				}
				return nil
			}
			first := fromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if p := b.ActiveRecords()[0].Position; p[len(p)-1] == '7' {
					b.Nack(0, errTest) // such a batch is timed like any other
				}
				return nil
			})
			p := byPosition(does{"3": fail, "14": filter, "16": split(2)})
			d := slowDestination(j, "out", 7300*time.Microsecond)
			w := newAhead(t, ahead, chain(first, through("p", p), to(d)), queue(newDestination(j, "dlq")), timer)
			wantNoError(t, runWorker(t, w))
			if !slices.Equal(timer.observed, want) || len(want) != 30 {
				t.Errorf("%d ahead: observed\n%v, want\n%v", ahead, timer.observed, want)
			}
		})
	}
}

// A timer that begins to report while records wait gets the time since their
// batch began.
func TestWithReadAhead_timerOfASet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		set, timer := metrics.NewSet(), &fakeTimer{}
		d := newDestination(j, "out")
		d.write = func(context.Context, []opencdc.Record) error {
			time.Sleep(2500 * time.Microsecond)
			if len(d.written) == 1 {
				set.Register(timerRegistry{timer: timer})
			}
			time.Sleep(time.Millisecond)
			return nil
		}
		first := chain(from(steadySource(j, 5, time.Millisecond)), to(d))
		w := newAhead(t, 100, first, nil, set.NewTimer(metrics.Desc{Name: "t"}).WithValues())
		wantNoError(t, runWorker(t, w))
		// The timer reports from 3.5 ms on. By then 2 and 3 wait, 4 joins them, and at
		// 4.5 ms they become a batch. 5 is read at 5 ms, and processed from 8 ms on.
		ms := time.Millisecond
		if want := []time.Duration{7 * ms / 2, 7 * ms / 2, 7 * ms / 2, 13 * ms / 2}; !slices.Equal(timer.observed, want) {
			t.Errorf("observed %v, want %v", timer.observed, want)
		}
	})
}

// flickering is a timer that somebody listens to only the third time that it is
// asked.
type flickering struct {
	fakeTimer
	asked int
}

func (t *flickering) Enabled() bool { t.asked++; return t.asked == 3 }

// A timer may be of interest to somebody for a while only.
func TestWithReadAhead_flickeringTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		s := newSource(j)
		reads, busy := 0, make(chan struct{})
		s.read = func(context.Context) ([]opencdc.Record, error) {
			if reads++; reads == 2 {
				<-busy // with the first one, so that the others wait together
			}
			if reads == 5 {
				return nil, io.EOF
			}
			return records(strconv.Itoa(reads)), nil
		}
		slow := custom("slow", func(_ context.Context, b *funnel.Batch) error {
			if string(b.ActiveRecords()[0].Position) == "1" {
				close(busy)
				time.Sleep(time.Second)
			}
			return nil
		})
		nodes := chain(from(s), slow, to(newDestination(j, "out")))
		w, err := funnel.NewWorker(nodes, nil, log.Nop(), &flickering{}, funnel.WithReadAhead(100))
		wantNoError(t, err)
		wantNoError(t, runWorker(t, w))
		j.want(t, []string{"ack"}, "ack 1", "ack 2 3 4")
	})
}
