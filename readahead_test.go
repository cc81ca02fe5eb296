package funnel_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
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
		w, err := funnel.NewWorker(chain(from(batchesOf(&journal{})), to(newDestination(&journal{}, "out"))), nil, log.Nop(), nil, funnel.WithReadAhead(n))
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
		wantNoError(t, newAhead(t, n, chain(from(s), to(newDestination(&journal{}, "out"))), nil, nil).Do(ctx))
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
			writing, goOn, readOn := make(chan int), make(chan struct{}), make(chan struct{})
			s.read = func(context.Context) ([]opencdc.Record, error) {
				if reads.Add(1) == 2 {
					<-readOn // until the first batch is on its way
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
		{name: "a wrapped io.EOF", reads: []fakeRead{one, {recs: records("2"), err: errors.Join(io.EOF)}}, err: io.EOF, want: "1"},
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

// Any number of workers read ahead side by side, in real time.
func TestWithReadAhead_many(t *testing.T) {
	var done []<-chan ending
	var journals []*journal
	want := ""
	for i := range 200 {
		want += " " + strconv.Itoa(i+1)
	}
	for i := range 20 {
		j := &journal{}
		first := from(steadySource(j, 200, 0))
		first.Next = []*funnel.TaskNode{to(newDestination(j, "out")), to(newDestination(j, "other"))}
		done = append(done, start(t.Context(), newAhead(t, 1+i*i, first, nil, nil)))
		journals = append(journals, j)
	}
	for i, j := range journals {
		(<-done[i]).want(t, nil)
		j.wantFlat(t, want[1:], "", want[1:])
		if j.flat("other") != want[1:] {
			t.Errorf("other: %s", j.flat("other"))
		}
	}
}
