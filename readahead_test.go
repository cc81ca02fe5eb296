package funnel_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// newAhead returns a worker that reads ahead, or one that does not if records is
// 0.
func newAhead(t *testing.T, records int, first *funnel.TaskNode, dlq *funnel.DLQ, timer metrics.Timer) *funnel.Worker {
	t.Helper()
	var opts []funnel.WorkerOption
	if records > 0 {
		opts = append(opts, funnel.WithReadAhead(records))
	}
	w, err := funnel.NewWorker(first, dlq, log.Nop(), timer, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// strictSource fails the test if two calls overlap that must not: Ack and
// Teardown may run beside Read, but nothing beside itself, and not beside each
// other.
type strictSource struct {
	*fakeSource
	t                        *testing.T
	reading, acking, tearing atomic.Bool
}

func (s *strictSource) enter(call string, busy *atomic.Bool, others ...*atomic.Bool) {
	if busy.Swap(true) {
		s.t.Errorf("%s was called beside itself", call)
	}
	for _, other := range others {
		if other.Load() {
			s.t.Errorf("%s was called beside another call", call)
		}
	}
}

func (s *strictSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	s.enter("Read", &s.reading)
	defer s.reading.Store(false)
	return s.fakeSource.Read(ctx)
}

func (s *strictSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	s.enter("Ack", &s.acking, &s.tearing)
	defer s.acking.Store(false)
	return s.fakeSource.Ack(ctx, positions)
}

func (s *strictSource) Teardown(ctx context.Context) error {
	s.enter("Teardown", &s.tearing, &s.acking)
	defer s.tearing.Store(false)
	return s.fakeSource.Teardown(ctx)
}

// flat returns what follows the word in the lines that start with it, as if it
// were one line: which records a connector was given, whatever the batches.
func (j *journal) flat(word string) string {
	var rest []string
	for _, line := range j.all(word) {
		rest = append(rest, strings.Fields(line)[1:]...)
	}
	return strings.Join(rest, " ")
}

// wantFlat fails the test if out, dlq and ack were not given these records.
func (j *journal) wantFlat(t *testing.T, out, dlq, ack string) {
	t.Helper()
	for word, want := range map[string]string{"out": out, "dlq": dlq, "ack": ack} {
		if got := j.flat(word); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}

// steadySource returns a source of n single records, from 1 on, each of which
// takes some time to read.
func steadySource(j *journal, n int, each time.Duration) *fakeSource {
	s := newSource(j)
	i := 0
	s.read = func(context.Context) ([]opencdc.Record, error) {
		if i == n {
			return nil, io.EOF
		}
		time.Sleep(each)
		i++
		return records(strconv.Itoa(i)), nil
	}
	return s
}

// slowDestination returns a destination that takes some time for each call.
func slowDestination(j *journal, name string, each time.Duration) *fakeDestination {
	d := newDestination(j, name)
	d.write = func(context.Context, []opencdc.Record) error { time.Sleep(each); return nil }
	return d
}

func TestWithReadAhead_invalid(t *testing.T) {
	for _, n := range []int{0, -7} {
		w, err := funnel.NewWorker(from(batchesOf(&journal{})), nil, log.Nop(), nil, funnel.WithReadAhead(n))
		wantError(t, err, nil, strconv.Itoa(n), "at least 1")
		if w != nil {
			t.Errorf("%d: there is a worker", n)
		}
	}
}

// Only a worker with the option reads on another goroutine than that of Do, with
// another context, which ends with Do.
func TestWithReadAhead_isOffByDefault(t *testing.T) {
	for _, n := range []int{0, 1} {
		s := batchesOf(&journal{})
		ctx := t.Context()
		var got context.Context
		s.read = func(readCtx context.Context) ([]opencdc.Record, error) {
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
		wantNoError(t, newAhead(t, n, from(s), nil, nil).Do(ctx))
		if (got.Err() == nil) != (n == 0) {
			t.Errorf("%d: after Do, the context's error is %v", n, got.Err())
		}
	}
}

// runFor runs a pipeline of a source and a destination and returns how long it
// took.
func runFor(t *testing.T, ahead int, s *fakeSource, d *fakeDestination) time.Duration {
	t.Helper()
	start := time.Now()
	wantNoError(t, runWorker(t, newAhead(t, ahead, chain(from(s), to(d)), nil, nil)))
	return time.Since(start)
}

func TestWithReadAhead_throughput(t *testing.T) {
	for _, tt := range []struct {
		name    string
		records int
		read    time.Duration // each takes so long
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
				j := &journal{}
				return runFor(t, ahead, steadySource(j, tt.records, tt.read), slowDestination(j, "out", time.Millisecond))
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

// What has arrived while a batch was on its way is the next one.
func TestWithReadAhead_naturalBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		var sizes []int
		d := newDestination(j, "out")
		d.write = func(_ context.Context, recs []opencdc.Record) error {
			sizes = append(sizes, len(recs))
			time.Sleep(10_300 * time.Microsecond) // never at the same time as a read
			return nil
		}
		runFor(t, 100, steadySource(j, 60, time.Millisecond), d)
		// Records arrive at 1, 2, ... ms; batches begin at 1, 11.3, 21.6, ... ms.
		if want := []int{1, 10, 10, 10, 11, 10, 8}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v records, want %v", sizes, want)
		}
	})
}

// A pipeline that is faster than its source delivers each record when the
// sequential walk does.
func TestWithReadAhead_addsNoLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delivered := func(ahead int) (at []time.Duration) {
			start := time.Now()
			j := &journal{}
			s := steadySource(j, 50, 0)
			read, i := s.read, 0
			s.read = func(ctx context.Context) ([]opencdc.Record, error) {
				i++
				time.Sleep(time.Until(start.Add(time.Duration(i) * 3 * time.Millisecond)))
				return read(ctx)
			}
			d := newDestination(j, "out")
			d.write = func(_ context.Context, recs []opencdc.Record) error {
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

// No read begins while so many records wait, and one begins as soon as fewer do.
func TestWithReadAhead_bound(t *testing.T) {
	for _, tt := range []struct{ ahead, size, reads int }{
		{1, 1, 1}, {2, 1, 2}, {100, 1, 100},
		{10, 3, 4}, {10, 5, 2}, {10, 10, 1}, {10, 25, 1}, {1, 7, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			s, d := newSource(j), newDestination(j, "out")
			var reads atomic.Int32
			writing, goOn := make(chan int), make(chan struct{})
			s.read = func(context.Context) ([]opencdc.Record, error) {
				if reads.Add(1) == 2 {
					<-goOn // until the first batch is on its way
				}
				return numbered(tt.size), nil
			}
			d.write = func(_ context.Context, recs []opencdc.Record) error {
				writing <- len(recs)
				<-goOn
				return nil
			}
			w := newAhead(t, tt.ahead, chain(from(s), to(d)), nil, nil)
			done := start(t.Context(), w)
			want := 1
			for i := range 5 {
				got := <-writing
				if got != want*tt.size {
					t.Errorf("%v: batch %d has %d records, want those of %d reads", tt, i, got, want)
				}
				if i == 0 {
					goOn <- struct{}{}
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
			wantNoError(t, <-stopped)
			(<-done).want(t, nil)
		})
	}
}

// Acks, writes and dead letters come in the order of the sequential walk.
func TestWithReadAhead_order(t *testing.T) {
	verdicts := func() does {
		return does{
			"2": filter, "3": fail, "5": split(3), "8": once(single), "9": once(fail), "10": filter,
			"13": once(split(2)), "14": fail, "15": fail, "20": filter,
		}
	}
	out := "1 4 5a 5b 5c 6 7 8 11 12 13a 13b 16 17 18 19"
	dlq := "3 6 9 14 15 18"
	all := "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"
	for _, ahead := range []int{0, 1, 3, 100} {
		for _, slow := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				s := &strictSource{t: t, fakeSource: batchesOf(j, "1 2 3", "4 5", "6", "7", "8", "9", "10 11 12 13 14 15", "16 17 18 19", "20")}
				s.ack = func(context.Context, []opencdc.Position) error { time.Sleep(slow); return nil }
				d := slowDestination(j, "out", slow)
				d.refuse["6"], d.refuse["18"] = errTest, errTest
				w := newAhead(t, ahead, chain(from(s), through("p", byPosition(verdicts())), to(d)), queue(newDestination(j, "dlq")), nil)
				wantNoError(t, runWorker(t, w))
				j.wantFlat(t, out, dlq, all)
			})
		}
	}
}

// However the source ends, what it has returned before comes first, and the end
// is that of the sequential walk.
func TestWithReadAhead_ends(t *testing.T) {
	one, two, empty := fakeRead{recs: records("1")}, fakeRead{recs: records("2", "3")}, fakeRead{}
	for _, tt := range []struct {
		name  string
		reads []fakeRead
		err   error
		want  string
		words []string
	}{
		{name: "nothing"},
		{name: "no more records", reads: []fakeRead{one, two, {err: io.EOF}}, want: "1 2 3"},
		{name: "the last records", reads: []fakeRead{one, {recs: records("2", "3"), err: io.EOF}}, want: "1 2 3"},
		{name: "a wrapped io.EOF", reads: []fakeRead{one, {recs: records("2"), err: errors.Join(io.EOF)}}, want: "1 2"},
		{name: "empty reads", reads: []fakeRead{empty, one, empty, empty, two, empty}, want: "1 2 3"},
		{name: "a failed read", reads: []fakeRead{one, two, {err: errTest}}, err: errTest, want: "1 2 3"},
		{name: "a failed read drops its records", reads: []fakeRead{one, two, {recs: records("4"), err: errTest}}, err: errTest, want: "1 2 3"},
		{name: "a failed first read", reads: []fakeRead{{err: errTest}, one}, err: errTest},
		{name: "a cancellation that nobody asked for", reads: []fakeRead{one, {err: context.Canceled}, two}, err: context.Canceled, want: "1"},
		{name: "another end of file", reads: []fakeRead{one, {err: io.ErrUnexpectedEOF}}, err: io.ErrUnexpectedEOF, want: "1"},
		{name: "an empty position", reads: []fakeRead{one, two, {recs: records("4", "", "5")}}, want: "1 2 3", words: []string{"record 1", "of 3", "empty position"}},
		{name: "an empty last position", reads: []fakeRead{one, {recs: records(""), err: io.EOF}}, want: "1", words: []string{"empty position"}},
	} {
		for _, ahead := range []int{0, 1, 100} {
			for _, slow := range []time.Duration{0, time.Millisecond} {
				synctest.Test(t, func(t *testing.T) {
					j := &journal{}
					s := &strictSource{t: t, fakeSource: newSource(j, tt.reads...)}
					err := runWorker(t, newAhead(t, ahead, chain(from(s), to(slowDestination(j, "out", slow))), nil, nil))
					switch {
					case tt.err != nil || tt.words != nil:
						wantError(t, err, tt.err, append(tt.words, `"source"`)...)
						if funnel.IsFatalError(err) != (tt.words != nil) {
							t.Errorf("%s: fatal or not: %v", tt.name, err)
						}
					case err != nil:
						t.Errorf("%s: %v", tt.name, err)
					}
					j.wantFlat(t, tt.want, "", tt.want)
				})
			}
		}
	}
}

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

// quietAcks is a destination that acks all and allocates nothing.
type quietAcks struct {
	funnel.Destination
	acks    []connector.DestinationAck // of positions "p"
	pending int
	write   func(n int)
}

func (d *quietAcks) Write(_ context.Context, recs []opencdc.Record) error {
	d.pending = len(recs)
	if d.write != nil {
		d.write(len(recs))
	}
	return nil
}

func (d *quietAcks) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks[:d.pending], nil
}

// newQuietAcks returns a destination for up to n records at a time.
func newQuietAcks(n int) *quietAcks {
	acks := slices.Repeat([]connector.DestinationAck{{Position: opencdc.Position("p")}}, n)
	return &quietAcks{acks: acks}
}

// A record that is read by itself costs few allocations, on average, one of a
// larger read next to none.
func TestWithReadAhead_allocations(t *testing.T) {
	for _, tt := range []struct {
		size  int
		mark  bool
		ahead int
		limit float64 // of allocations for each read
	}{
		{1, false, 1, 3}, {1, false, 1000, 3}, {100, false, 1000, 4}, {1000, false, 1000, 5},
		{1, true, 1000, 8},
	} {
		const reads = 5000
		recs := slices.Repeat([]opencdc.Record{{Position: opencdc.Position("p")}}, tt.size)
		n := 0
		source := quietSource{read: func() ([]opencdc.Record, error) {
			if n++; n > reads {
				return nil, io.EOF
			}
			return recs, nil
		}}
		first := fromThen(source, func(_ context.Context, b *funnel.Batch) error {
			if tt.mark {
				b.Nack(0)
				b.Ack(0)
			}
			return nil
		})
		out := node(funnel.NewDestinationTask("out", newQuietAcks(tt.ahead+tt.size), log.Nop(), nil))
		w := newAhead(t, tt.ahead, chain(first, out), nil, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := w.Do(t.Context())
		runtime.ReadMemStats(&after)
		wantNoError(t, err)
		if perRead := float64(after.Mallocs-before.Mallocs) / reads; perRead > tt.limit {
			t.Errorf("%+v: %.2f allocations for each read", tt, perRead)
		}
	}
}

// The memory that single records are put together in is used again: it grows with
// the largest batch, not with the number of batches.
func TestWithReadAhead_buffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, batches = 1000, 50
		recs := []opencdc.Record{{Position: opencdc.Position("p")}}
		n := 0
		source := quietSource{read: func() ([]opencdc.Record, error) {
			if n++; n > size*batches {
				return nil, io.EOF
			}
			return recs, nil
		}}
		d := newQuietAcks(size)
		d.write = func(int) { time.Sleep(time.Millisecond) } // meanwhile the reader comes to its bound
		w := newAhead(t, size, chain(from(source), node(funnel.NewDestinationTask("out", d, log.Nop(), nil))), nil, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := w.Do(t.Context())
		runtime.ReadMemStats(&after)
		wantNoError(t, err)
		// A record of a batch is some 150 bytes, which are not allocated each time; its
		// position is 24 bytes, which are, when it is read and, while the positions of a
		// batch grow, about twice again.
		if perRecord := (after.TotalAlloc - before.TotalAlloc) / (size * batches); perRecord > 120 {
			t.Errorf("%d bytes for each record", perRecord)
		}
	})
}

// A batch that is done is not held while the worker waits for the next one.
func TestWithReadAhead_forgets(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads int
		mark  bool
	}{{"a single read", 1, false}, {"several reads", 3, false}, {"marked batches", 3, true}} {
		synctest.Test(t, func(t *testing.T) {
			var held []weak.Pointer[byte]
			s := newSource(&journal{})
			s.endless = true
			writing := make(chan struct{})
			s.read = func(ctx context.Context) ([]opencdc.Record, error) {
				if len(held) == tt.reads {
					return nil, s.block(ctx)
				}
				if len(held) == 1 {
					<-writing // the first batch, so that the others wait together
				}
				data := make([]byte, 100)
				held = append(held, weak.Make(&data[0]))
				return []opencdc.Record{{Position: opencdc.Position("p"), Payload: opencdc.Change{After: opencdc.RawData(data)}}}, nil
			}
			first := fromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if tt.mark {
					b.Nack(0)
					b.Ack(0)
				}
				return nil
			})
			d := newQuietAcks(tt.reads)
			largest := 0
			d.write = func(n int) {
				if largest == 0 {
					close(writing)
				}
				largest = max(largest, n)
				time.Sleep(time.Millisecond)
			}
			w := newAhead(t, 100, chain(first, node(funnel.NewDestinationTask("out", d, log.Nop(), nil))), nil, nil)
			done := start(t.Context(), w)
			time.Sleep(time.Second)
			synctest.Wait()
			if merges := tt.reads > 1 && !tt.mark; (largest > 1) != merges {
				t.Errorf("%s: the largest batch has %d records", tt.name, largest)
			}
			runtime.GC()
			for i := range held {
				if held[i].Value() != nil {
					t.Errorf("%s: record %d of %d is still held", tt.name, i, len(held))
				}
			}
			wantNoError(t, w.Stop(t.Context()))
			(<-done).want(t, nil)
		})
	}
}

// A processor gets the records of a batch in memory that nobody else writes to,
// also while others are read.
func TestWithReadAhead_recordsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		p := fakeProcessor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			before := positionsOf(recs)
			time.Sleep(10 * time.Millisecond)
			if after := positionsOf(recs); !slices.Equal(before, after) {
				t.Errorf("the records %v have become %v", before, after)
			}
			results := make([]sdk.ProcessedRecord, len(recs))
			for i, rec := range recs {
				results[i] = sdk.SingleRecord(rec)
			}
			return results
		})
		s := steadySource(j, 100, time.Millisecond)
		wantNoError(t, runWorker(t, newAhead(t, 20, chain(from(s), through("p", p), to(newDestination(j, "out"))), nil, nil)))
		if j.flat("out") != j.flat("ack") || len(strings.Fields(j.flat("out"))) != 100 {
			t.Errorf("written: %s\nacked: %s", j.flat("out"), j.flat("ack"))
		}
	})
}
