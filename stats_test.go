package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// wantStats fails the test unless the totals are these. Times and tasks are not compared.
func wantStats(t *testing.T, got, want funnel.Stats) {
	t.Helper()
	got.LastAck, got.Tasks = time.Time{}, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the stats are\n%+v, want\n%+v", got, want)
	}
}

// The totals count what has happened to the records and their copies.
func TestWorker_stats(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole batches %t", whole), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				p := fake.ByPosition(fake.Answers{
					"1": fake.Filter, "2": fake.Fail, "3": fake.Split(3), "4": fake.SecondTime(fake.SecondTime(fake.Pass)),
				})
				b := fake.NewDestination(j, "b")
				b.Refuse["3b"], b.Refuse["5"] = fake.ErrTest, fake.ErrTest
				failing := fake.NewDestination(j, "failing")
				failing.OnWrite = func(context.Context, []opencdc.Record) error { return fake.ErrTest }
				first := fake.From(fake.SourceOf(j, "1 2 3", "4 5", "6"))
				fake.Chain(first, fake.Fork(fake.Through("p", p), fake.Out(j), fake.To(b), bestEffort(fake.To(failing))))
				var opts []funnel.WorkerOption
				if whole {
					opts = append(opts, funnel.WithWholeBatches())
				}
				w := fake.NewWorker(t, first, fake.DLQ(j), opts...)
				wantStats(t, w.Stats(), funnel.Stats{})
				start := time.Now()
				fake.WantNoError(t, fake.RunWorker(t, w))
				// 2 by p, the 3 pieces of 3 by b, 5 by b.
				wantStats(t, w.Stats(), funnel.Stats{
					Read: 6, Acked: 6, DeadLettered: 3, Filtered: 1, Nacked: 5, Retried: 2, Batches: 3, SkippedBranches: 1,
				})
				if at := w.Stats().LastAck; at.Before(start) || at.After(time.Now()) {
					t.Errorf("the last ack was at %v", at)
				}
			})
		})
	}
}

// While the worker runs, the numbers of records read, in flight and waiting add up.
// Records that were never acked are not counted as acked.
func TestWorker_statsInFlight(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		step := make(chan error)
		out.OnWrite = func(context.Context, []opencdc.Record) error { return <-step }
		source, reads := fake.NewSource(j), make(chan string, 3)
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			select {
			case read := <-reads:
				return fake.Records(strings.Fields(read)...), nil
			case <-source.TornDown:
				return nil, io.EOF
			}
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil, opts...)
		done := make(chan error, 1)
		go func() { done <- fake.RunWorker(t, w) }()
		reads <- "1 2"
		synctest.Wait()
		reads <- "3"
		reads <- "4 5 6"
		synctest.Wait()
		s := w.Stats()
		if s.InFlight != 2 || s.Acked != 0 || s.Read != uint64(s.InFlight+s.Waiting) || !s.LastAck.IsZero() || len(s.Tasks) > 0 {
			t.Errorf("in flight: %+v", s)
		}
		if ahead := s.Waiting; (ahead > 0) != (len(opts) > 0) {
			t.Errorf("%d wait", ahead)
		}
		time.Sleep(time.Second)
		step <- nil
		synctest.Wait()
		s = w.Stats()
		if s.Acked != 2 || s.Batches != 1 || s.Read != s.Acked+uint64(s.InFlight+s.Waiting) || time.Since(s.LastAck) != 0 {
			t.Errorf("after a batch: %+v", s)
		}
		step <- fake.ErrTest
		fake.WantError(t, <-done, fake.ErrTest)
		s = w.Stats()
		if s.Acked != 2 || s.Batches != 2 || s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// Acks and nacks by the host count, too.
func TestWorker_statsFromOutside(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), fake.DLQ(j))
	fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(fake.Records("1", "2"))))
	fake.WantNoError(t, w.Nack(t.Context(), funnel.NewBatch(fake.Records("3")), "task"))
	wantStats(t, w.Stats(), funnel.Stats{Acked: 3, DeadLettered: 1, Nacked: 1})
	if time.Since(w.Stats().LastAck) > time.Minute {
		t.Errorf("the last ack was at %v", w.Stats().LastAck)
	}
}

// The time of the last ack is known even if it is that of the start.
func TestWorker_statsOfAnInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), nil)
		fake.WantNoError(t, w.Do(t.Context()))
		if age := time.Since(w.Stats().LastAck).Round(time.Microsecond); age != 0 {
			t.Errorf("the last ack was %v ago", age)
		}
	})
}

// The stats show how full the window of the queue is, while the worker runs.
func TestWorker_statsOfTheWindow(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		step := make(chan error)
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { return <-step }
		p := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Fail, "8": fake.Fail, "9": fake.Fail, "10": fake.Fail})
		source, reads := fake.NewSource(j), make(chan string)
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			select {
			case read := <-reads:
				return fake.Records(strings.Fields(read)...), nil
			case <-source.TornDown:
				return nil, io.EOF
			}
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Through("p", p), fake.To(out)),
			fake.Window(fake.NewDestination(j, "dlq"), 5, 2), opts...)
		want := func(when string, nacks int, isRefusing bool) {
			t.Helper()
			if got, want := w.Stats().Window, (funnel.NackWindow{Size: 5, Threshold: 2, Nacks: nacks, Refusing: isRefusing}); got != want {
				t.Errorf("%s: the window is %+v, want %+v", when, got, want)
			}
		}
		want("before", 0, false)
		done := make(chan error, 1)
		go func() { done <- fake.RunWorker(t, w) }()
		reads <- "1 2 3 4"
		step <- nil
		synctest.Wait()
		want("within a batch", 2, false)
		step <- nil
		reads <- "5 6 7" // 3 to 7 are in the window
		step <- nil
		synctest.Wait()
		want("after acks", 1, false)
		reads <- "8 9 10"
		err := <-done
		fake.WantError(t, err, funnel.ErrNackThreshold)
		want("at the end", 2, true)
	})
}

// A window that refuses everything or nothing counts no nacks. Without a queue there is
// no window.
func TestWorker_statsOfOtherWindows(t *testing.T) {
	for _, c := range []struct {
		size, threshold int
		want            funnel.NackWindow
	}{
		{0, 0, funnel.NackWindow{}},
		{-1, -2, funnel.NackWindow{}},
		{0, 7, funnel.NackWindow{Threshold: 7}},
		{3, 3, funnel.NackWindow{Size: 3, Threshold: 3}},
		{3, 0, funnel.NackWindow{Size: 3, Refusing: true}},
		{3, -1, funnel.NackWindow{Size: 3, Refusing: true}},
	} {
		j := &fake.Journal{}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j)),
			fake.Window(fake.NewDestination(j, "dlq"), c.size, c.threshold))
		_ = fake.RunWorker(t, w)
		if got := w.Stats().Window; got != c.want {
			t.Errorf("size %d, threshold %d: %+v, want %+v", c.size, c.threshold, got, c.want)
		}
	}
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j)), fake.Out(j)), nil)
	if got := w.Stats().Window; got != (funnel.NackWindow{}) {
		t.Errorf("without a queue: %+v", got)
	}
}

// Stats may be called at any time from any goroutine.
func TestWorker_statsConcurrently(t *testing.T) {
	var batches []string
	for i := range 500 {
		batches = append(batches, fmt.Sprint(i))
	}
	j := &fake.Journal{}
	first := fake.Fork(fake.From(fake.SourceOf(j, batches...)), fake.Out(j), fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"7": fake.Fail, "99": fake.Fail})), fake.To(fake.NewDestination(j, "b"))))
	w := fake.NewWorker(t, first, fake.Window(fake.NewDestination(j, "dlq"), 9, 1), funnel.WithStats(), funnel.WithReadAhead(3))
	done := make(chan error, 1)
	go func() { done <- fake.RunWorker(t, w) }()
	var last funnel.Stats
	for {
		s := w.Stats()
		if s.Read < last.Read || s.Acked < last.Acked || s.Batches < last.Batches || s.Acked+uint64(s.InFlight+s.Waiting) > s.Read {
			t.Fatalf("the stats are %+v after %+v", s, last)
		}
		last = s
		select {
		case err := <-done:
			fake.WantNoError(t, err)
			if got := w.Stats().Acked; got != 500 {
				t.Errorf("%d acked", got)
			}
			return
		default:
		}
	}
}

// stuckAt runs a worker until something blocks, and returns its stats then and the error
// with which Stop gives up.
func stuckAt(t *testing.T, w *funnel.Worker, blocked chan struct{}) (funnel.Stats, error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- fake.RunWorker(t, w) }()
	synctest.Wait()
	time.Sleep(3 * time.Second)
	s := w.Stats()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := w.Stop(ctx)
	if closeErr := w.Close(ctx); closeErr == nil || closeErr.Error() != err.Error() {
		t.Errorf("Close: %v, but Stop: %v", closeErr, err)
	}
	close(blocked)
	<-done
	return s, err
}

// The errors with which Stop and Close give up say where the batch is and, with
// WithStats, since when. So do the stats.
func TestWithStats(t *testing.T) {
	for _, tt := range []struct {
		name     string
		build    func(j *fake.Journal, block func()) *funnel.TaskNode
		ids      []string
		activity funnel.Activity
	}{{
		name: "a destination",
		build: func(j *fake.Journal, block func()) *funnel.TaskNode {
			out := fake.NewDestination(j, "out")
			out.OnWrite = func(context.Context, []opencdc.Record) error { block(); return nil }
			return fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(out))
		},
		ids: []string{"out"}, activity: funnel.ActivityTask,
	}, {
		name: "two branches",
		build: func(j *fake.Journal, block func()) *funnel.TaskNode {
			wait := func(context.Context, *funnel.Batch) error { block(); return nil }
			return fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.Custom("b", wait), fake.Out(j), fake.Chain(fake.Through("p", fake.Each(fake.Pass)), fake.Custom("a", wait)))
		},
		ids: []string{"a", "b"}, activity: funnel.ActivityTask,
	}, {
		name: "the source's Ack",
		build: func(j *fake.Journal, block func()) *funnel.TaskNode {
			source := fake.SourceOf(j, "1")
			source.OnAck = func(context.Context, []opencdc.Position) error { block(); return nil }
			return fake.Fork(fake.From(source), fake.Out(j), fake.To(fake.NewDestination(j, "other")))
		},
		ids: []string{"source"}, activity: funnel.ActivityAck,
	}, {
		name: "the queue",
		build: func(j *fake.Journal, _ func()) *funnel.TaskNode {
			return fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
		},
		ids: []string{"dlq"}, activity: funnel.ActivityDLQ,
	}} {
		for _, timed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, timed %t", tt.name, timed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					blocked := make(chan struct{})
					block := func() { <-blocked }
					j := &fake.Journal{}
					dead := fake.NewDestination(j, "dlq")
					dead.OnWrite = func(context.Context, []opencdc.Record) error { block(); return nil }
					var opts []funnel.WorkerOption
					if timed {
						opts = append(opts, funnel.WithStats())
					}
					s, err := stuckAt(t, fake.NewWorker(t, tt.build(j, block), fake.Queue(dead), opts...), blocked)
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Stop: %v", err)
					}
					for _, id := range tt.ids {
						words := fmt.Sprintf("%q is %s", id, tt.activity)
						if timed {
							words += ", for 4s"
						}
						if !strings.Contains(err.Error(), words) {
							t.Errorf("Stop: %v, want %q", err, words)
						}
					}
					var ids, want []string
					if timed {
						want = tt.ids
					}
					for _, task := range s.Tasks {
						ids = append(ids, task.ID)
						if task.Activity != tt.activity || time.Since(task.Since) != 4*time.Second {
							t.Errorf("%+v", task)
						}
					}
					if !slices.Equal(ids, want) {
						t.Errorf("the tasks are %q, want %q", ids, want)
					}
				})
			})
		}
	}
}

// If a call of Ack by the host also hangs, both places are named.
func TestWithStats_outside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		blocked := make(chan struct{})
		source, out := fake.SourceOf(j, "1"), fake.NewDestination(j, "out")
		source.OnAck = func(context.Context, []opencdc.Position) error { <-blocked; return nil }
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-blocked; return nil }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil, funnel.WithStats())
		go func() { _ = w.Ack(t.Context(), funnel.NewBatch(fake.Records("9"))) }()
		s, err := stuckAt(t, w, blocked)
		if len(s.Tasks) != 2 || s.Tasks[0].ID != "out" || s.Tasks[1].ID != "source" {
			t.Errorf("the tasks are %+v, Stop: %v", s.Tasks, err)
		}
	})
}

// A worker that waits for a sink says so, and one that only reads has no batch.
func TestWithStats_waiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		blocked := make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { <-blocked; return nil }
		root := fake.To(out)
		newSink(t, root)
		a, _ := into(t, []*funnel.TaskNode{root}, "1")
		b := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "2")), fake.Through("p", fake.Each(fake.Pass)), root), nil, funnel.WithStats())
		go func() { _ = a.Do(t.Context()) }()
		synctest.Wait()
		s, err := stuckAt(t, b, blocked)
		if len(s.Tasks) != 1 || s.Tasks[0].ID != "p" || s.Tasks[0].Activity != funnel.ActivitySink || !strings.Contains(err.Error(), `"p" is waiting for a sink`) {
			t.Errorf("the tasks are %+v, Stop: %v", s.Tasks, err)
		}

		source := fake.SourceOf(j)
		source.Endless = true
		c := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), nil, funnel.WithStats())
		done := make(chan error, 1)
		go func() { done <- fake.RunWorker(t, c) }()
		<-source.Reading
		if s := c.Stats(); len(s.Tasks) > 0 || s.InFlight > 0 {
			t.Errorf("reading: %+v", s)
		}
		fake.WantNoError(t, c.Stop(t.Context()))
		fake.WantNoError(t, <-done)
	})
}

// A worker whose first task is followed by a sink waits at that task, at each batch, and
// since it began to wait.
func TestWithStats_waitingAtFirstTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		blocked, second := make(chan struct{}), make(chan struct{})
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if string(recs[0].Position) == "blocks" {
				<-blocked
			}
			return nil
		}
		root := fake.To(out)
		newSink(t, root)
		source := fake.NewSource(j)
		reads := 0
		source.OnRead = func(context.Context) ([]opencdc.Record, error) {
			switch reads++; reads {
			case 1:
				return fake.Records("1"), nil
			case 2:
				<-second
				return fake.Records("2"), nil
			}
			return nil, io.EOF
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(source), root), nil, funnel.WithStats())
		go func() { _ = w.Do(t.Context()) }()
		synctest.Wait() // the first batch is done
		other, _ := into(t, []*funnel.TaskNode{root}, "blocks")
		go func() { _ = other.Do(t.Context()) }()
		synctest.Wait()
		time.Sleep(time.Minute)
		close(second)
		synctest.Wait()
		time.Sleep(time.Second)
		tasks := w.Stats().Tasks
		if len(tasks) != 1 || tasks[0].ID != "source" || tasks[0].Activity != funnel.ActivitySink || time.Since(tasks[0].Since) != time.Second {
			t.Errorf("the tasks are %+v", tasks)
		}
		close(blocked)
		synctest.Wait()
	})
}

// What the queue has confirmed counts, though the source or the queue then panics.
func TestWorker_statsAfterPanic(t *testing.T) {
	for _, isInside := range []bool{false, true} {
		source := fake.SourceOf(&fake.Journal{}, "1")
		source.OnAck = func(context.Context, []opencdc.Position) error { panic("ack") }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Through("p", fake.Each(fake.Fail)), fake.Out(&fake.Journal{})), fake.DLQ(&fake.Journal{}))
		func() {
			defer func() { _ = recover() }()
			if isInside {
				_ = w.Do(t.Context())
			} else {
				_ = w.Nack(t.Context(), funnel.NewBatch(fake.Records("9")), "task")
			}
		}()
		if s := w.Stats(); s.DeadLettered != 1 || s.Nacked != 1 || s.Acked != 0 {
			t.Errorf("inside %t: %+v", isInside, s)
		}
	}
}

// A task that settles its batch, or puts one of its own in its place, confuses nothing.
func TestWorker_statsOfCustomTasks(t *testing.T) {
	filters := fake.ByPosition(fake.Answers{"1": fake.Filter, "2": fake.Filter})
	for name, tt := range map[string]struct {
		do   func(ctx context.Context, w *funnel.Worker, b *funnel.Batch) error
		want funnel.Stats
		done string
	}{
		"acks": {
			do:   func(ctx context.Context, w *funnel.Worker, b *funnel.Batch) error { return w.Ack(ctx, b) },
			want: funnel.Stats{Read: 4, Acked: 4, Filtered: 2, Batches: 1},
			done: "done t 2->0",
		},
		"nacks": {
			do:   func(ctx context.Context, w *funnel.Worker, b *funnel.Batch) error { return w.Nack(ctx, b, "t") },
			want: funnel.Stats{Read: 4, Acked: 4, Filtered: 2, Nacked: 2, DeadLettered: 2, Batches: 1},
			done: "done t 2->0",
		},
		"replaces": {
			do: func(ctx context.Context, w *funnel.Worker, b *funnel.Batch) error {
				err := w.Ack(ctx, b)
				*b = *funnel.NewBatch(fake.Records("5"))
				return err
			},
			want: funnel.Stats{Read: 4, Acked: 5, Filtered: 2, Batches: 1},
			done: "done t 2->1",
		},
	} {
		for _, opts := range [][]funnel.WorkerOption{nil, {funnel.WithWholeBatches()}} {
			t.Run(fmt.Sprint(name, len(opts)), func(t *testing.T) {
				j, r := &fake.Journal{}, &recorder{}
				var w *funnel.Worker
				task := fake.Custom("t", func(ctx context.Context, b *funnel.Batch) error { return tt.do(ctx, w, b) })
				w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4")), fake.Through("p", filters), task, fake.Out(j)),
					fake.DLQ(j), append(opts, funnel.WithObserver(r))...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				wantStats(t, w.Stats(), tt.want)
				if !slices.ContainsFunc(r.events, func(e string) bool { return strings.HasPrefix(e, tt.done+" batch") }) {
					t.Errorf("no event %q in %q", tt.done, r.events)
				}
			})
		}
	}
}

// While the observer is told of a batch, no task has it.
func TestWithStats_observer(t *testing.T) {
	r := &recorder{}
	var w *funnel.Worker
	r.onEvent = func(event string) {
		if tasks := w.Stats().Tasks; len(tasks) > 0 && (strings.HasPrefix(event, "read") || strings.HasPrefix(event, "end")) {
			t.Errorf("at %q: %+v", event, tasks)
		}
	}
	w = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(&fake.Journal{}, "1", "2")), fake.Out(&fake.Journal{})), nil, funnel.WithStats(), funnel.WithObserver(r))
	fake.WantNoError(t, fake.RunWorker(t, w))
}

// Stats of several workers are added up.
func TestStats_Add(t *testing.T) {
	at := time.Unix(1, 0)
	task := func(id string) []funnel.TaskStats { return []funnel.TaskStats{{ID: id}} }
	sum := funnel.Stats{Read: 1, Acked: 2, DeadLettered: 3, Filtered: 4, Nacked: 5, Retried: 6, Batches: 7,
		SkippedBranches: 8, InFlight: 9, Waiting: 10, LastAck: at.Add(1), Tasks: task("a")}
	sum.Add(funnel.Stats{Read: 10, Acked: 20, DeadLettered: 30, Filtered: 40, Nacked: 50, Retried: 60, Batches: 70,
		SkippedBranches: 80, InFlight: 90, Waiting: 100, LastAck: at, Tasks: task("b")})
	want := funnel.Stats{Read: 11, Acked: 22, DeadLettered: 33, Filtered: 44, Nacked: 55, Retried: 66, Batches: 77,
		SkippedBranches: 88, InFlight: 99, Waiting: 110, LastAck: at.Add(1), Tasks: append(task("a"), task("b")...)}
	if !reflect.DeepEqual(sum, want) {
		t.Errorf("got %+v, want %+v", sum, want)
	}
	sum.Add(funnel.Stats{LastAck: at.Add(2)})
	if !sum.LastAck.Equal(at.Add(2)) {
		t.Errorf("the last ack was at %v", sum.LastAck)
	}
	// From the one that is furthest from refusing a nack to the one that refuses.
	windows := []funnel.NackWindow{
		{},
		{Size: 10, Threshold: 5},
		{Size: 10, Threshold: 5, Nacks: 1},
		{Size: 10, Threshold: 3, Nacks: 2},
		{Size: 10},
		{Size: 10, Threshold: 9, Nacks: 9, Refusing: true},
	}
	for i, w := range windows {
		for j, other := range windows {
			s := funnel.Stats{Window: w}
			s.Add(funnel.Stats{Window: other})
			if s.Window != windows[max(i, j)] {
				t.Errorf("of %+v and %+v, got %+v", w, other, s.Window)
			}
		}
	}
}
