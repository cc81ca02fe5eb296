package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

const ms = time.Millisecond

// slowReads lets a source return these reads, separated by spaces, and then block until it
// is torn down. "20:a,b" takes 20 ms and returns the records a and b, "0:" returns
// nothing at once. Behind the records, "!" stands for an error and "$" for io.EOF. Each
// begin of a read is added to the journal, as "read" and the time in ms.
func slowReads(s *fake.Source, reads string) {
	start, left := time.Now(), strings.Fields(reads)
	s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
		s.Add("read", fmt.Sprint(since(start)))
		if len(left) == 0 {
			<-s.TornDown
			return fake.Records("late"), errors.New("the source was torn down")
		}
		after, result, _ := strings.Cut(left[0], ":")
		left = left[1:]
		n, _ := strconv.Atoi(after)
		select {
		case <-time.After(time.Duration(n) * ms):
		case <-s.TornDown:
			return nil, errors.New("the source was torn down")
		}
		positions := strings.TrimRight(result, "!$")
		var err error
		switch {
		case strings.HasSuffix(result, "!"):
			err = fake.ErrTest
		case strings.HasSuffix(result, "$"):
			err = io.EOF
		}
		return fake.Records(strings.FieldsFunc(positions, func(r rune) bool { return r == ',' })...), err
	}
}

// since returns the time since start in ms.
func since(start time.Time) float64 { return float64(time.Since(start)) / float64(ms) }

// batching is a batching source under test.
type batching struct {
	funnel.Source // the batching source
	*fake.Journal
	inner *fake.StrictSource
	start time.Time
}

func newBatching(t *testing.T, policy funnel.BatchPolicy, reads string) *batching {
	b := &batching{Journal: &fake.Journal{}, start: time.Now()}
	b.inner = &fake.StrictSource{T: t, Source: fake.NewSource(b.Journal)}
	slowReads(b.inner.Source, reads)
	b.Source = funnel.NewBatchingSource(b.inner, policy)
	return b
}

// next reads a batch and returns when it came and its records, or the error, as
// "20: a b".
func (b *batching) next(ctx context.Context) string {
	recs, err := b.Read(ctx)
	switch {
	case err == io.EOF:
		recs = append(recs, fake.Records("$")...)
	case errors.Is(err, fake.ErrTest):
		recs = append(recs, fake.Records("!")...)
	case err != nil:
		return fmt.Sprintf("%v: %v", since(b.start), err)
	}
	return fmt.Sprintf("%v: %s", since(b.start), strings.Join(fake.Positions(recs), " "))
}

// wantNext fails the test unless the next batches are these.
func (b *batching) wantNext(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, b.next(t.Context()))
	}
	fake.WantLines(t, got, want...)
}

// wantReads fails the test unless reads of the inner source began at these times.
func (b *batching) wantReads(t *testing.T, times ...string) {
	t.Helper()
	synctest.Wait()
	if got := strings.Fields(b.Given("read")); !slices.Equal(got, times) {
		t.Errorf("reads began at %v ms, want %v", got, times)
	}
}

// A batch is complete when it has its records or bytes or when its period is over, and
// when the source ends or fails.
func TestBatchingSource_batches(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy funnel.BatchPolicy
		reads  string
		want   []string
	}{
		{"records", funnel.BatchPolicy{Records: 3}, "1:a 2:b 3:c 4:d,e,f 5:g,h 6:i",
			[]string{"6: a b c", "10: d e f", "21: g h i"}},
		{"too many records", funnel.BatchPolicy{Records: 3}, "1:a,b 1:c,d,e,f,g,h,i,j 1:k",
			[]string{"2: a b c", "2: d e f", "2: g h i"}},
		{"the rest is collected with others", funnel.BatchPolicy{Records: 2}, "1:a,b,c 1:d,e 1:f",
			[]string{"1: a b", "2: c d", "3: e f"}},
		{"one record each", funnel.BatchPolicy{Records: 1}, "1:a,b 1:c",
			[]string{"1: a", "1: b", "2: c"}},
		{"period", funnel.BatchPolicy{Period: 10 * ms}, "500:a 7:b 2:c 2:d 9:e",
			[]string{"510: a b c", "521: d e"}},
		{"the period counts from the first record", funnel.BatchPolicy{Records: 5, Period: 10 * ms}, "3:a 3:b 3:c 3:d 3:e 3:f 30:g",
			[]string{"13: a b c d", "25: e f", "58: g"}},
		{"of the rest, too", funnel.BatchPolicy{Records: 3, Period: 10 * ms}, "3:a 4:b 3:c,d,e 20:f",
			[]string{"10: a b c", "20: d e", "40: f"}},
		{"default period", funnel.BatchPolicy{}, "20:a 99:b 2:c 98:d 3:e",
			[]string{"120: a b", "221: c d", "322: e"}},
		{"negative values", funnel.BatchPolicy{Records: -1, Bytes: -1, Period: -1}, "20:a 99:b 2:c",
			[]string{"120: a b", "221: c"}},
		{"end", funnel.BatchPolicy{}, "1:a 2:b 3:$ 1:c",
			[]string{"6: a b", "6: $", "6: $"}},
		{"end with the last records", funnel.BatchPolicy{}, "1:a 2:b 3:c$ 1:d",
			[]string{"6: a b c", "6: $", "6: $"}},
		{"end with many records", funnel.BatchPolicy{Records: 2}, "1:a 3:b,c,d,e,f$",
			[]string{"4: a b", "4: c d", "4: e f", "4: $"}},
		{"end with one record more", funnel.BatchPolicy{Records: 2}, "1:a 3:b,c$",
			[]string{"4: a b", "4: c", "4: $"}},
		{"end only", funnel.BatchPolicy{}, "3:$", []string{"3: $", "3: $"}},
		{"failure", funnel.BatchPolicy{}, "1:a 2:b 3:! 1:c",
			[]string{"6: a b", "6: !", "6: !"}},
		{"records of the failure are dropped", funnel.BatchPolicy{}, "1:a 2:b 3:c! 1:d",
			[]string{"6: a b", "6: !", "6: !"}},
		{"failure behind a complete batch", funnel.BatchPolicy{Records: 2}, "1:a,b,c 3:d!",
			[]string{"1: a b", "4: c", "4: !"}},
		{"empty reads", funnel.BatchPolicy{Period: 40 * ms}, "10: 0: 10:a 0: 0: 0: 20:b 30:c",
			[]string{"62: a b", "119: c"}},
		{"bytes", funnel.BatchPolicy{Bytes: 4}, "1:a 1:bb 1:c 1:dd,ee,f 1:ggg",
			[]string{"3: a bb c", "4: dd ee", "5: f ggg"}},
		{"the next record does not fit", funnel.BatchPolicy{Bytes: 4}, "1:a 1:bb 1:cc 1:dd 1:eeee",
			[]string{"3: a bb", "4: cc dd", "5: eeee"}},
		{"large records", funnel.BatchPolicy{Bytes: 2, Period: 10 * ms}, "1:a 1:bbb 1:ccc,ddd,e",
			[]string{"2: a", "2: bbb", "3: ccc", "3: ddd", "13: e"}},
		{"bytes and records", funnel.BatchPolicy{Bytes: 4, Records: 2}, "1:a,b,c,ddd,ee,fff,g,h",
			[]string{"1: a b", "1: c ddd", "1: ee", "1: fff g", "101: h"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBatching(t, tt.policy, tt.reads)
				fake.WantNoError(t, b.Open(t.Context()))
				b.wantNext(t, tt.want...)
				fake.WantNoError(t, b.Teardown(t.Context()))
			})
		})
	}
}

// By default a batch has at most 1,000 records, and any size.
func TestBatchingSource_defaultRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{}, "")
		big := fake.Records(strings.Repeat("x", 1<<16))
		b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) { return slices.Repeat(big, 999), nil }
		recs, err := b.Read(t.Context())
		fake.WantNoError(t, err)
		if len(recs) != 1000 {
			t.Errorf("a batch of %d records", len(recs))
		}
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// The size of a record is that of the metrics. Each record is measured at most once, and
// not at all without a limit.
func TestBatchingSource_sizes(t *testing.T) {
	for limit, want := range map[int]struct{ sizes, asked []int }{
		12: {sizes: []int{2, 2, 2, 1}, asked: []int{5, 7, 7, 7}},
		0:  {sizes: []int{7}, asked: []int{0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			recs := fake.Numbered(7)
			for i := range recs {
				recs[i].Key, recs[i].Payload.After = nil, counted{asked: &asked}
			}
			b := newBatching(t, funnel.BatchPolicy{Bytes: limit, Period: ms}, "")
			read := 0
			b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
				if read++; read > 2 {
					<-b.inner.TornDown
					return nil, fake.ErrTest
				}
				return [][]opencdc.Record{recs[:1], recs[1:]}[read-1], nil
			}
			for i, size := range want.sizes {
				recs, err := b.Read(t.Context())
				fake.WantNoError(t, err)
				if len(recs) != size || asked != want.asked[i] {
					t.Errorf("limit %d: batch %d has %d records, after %d were measured; want %v", limit, i, len(recs), asked, want)
				}
			}
			fake.WantNoError(t, b.Teardown(t.Context()))
		})
	}
}

// Records of a single read are passed on in its slice; otherwise they are copied, and the
// slices of the source stay as they are.
func TestBatchingSource_slices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Records: 4}, "")
		all := fake.Numbered(15)
		reads := [][]opencdc.Record{all[:4], all[4:5], all[5:14]}
		b.inner.OnRead = func(context.Context) ([]opencdc.Record, error) {
			defer func() { reads = reads[1:] }()
			return reads[0], nil
		}
		for _, want := range []struct {
			from, to int
			isSame   bool
		}{{0, 4, true}, {4, 8, false}, {8, 12, true}} {
			got, err := b.Read(t.Context())
			fake.WantNoError(t, err)
			if (&got[0] == &all[want.from]) != want.isSame {
				t.Errorf("the records from %d are in a slice of the source: %t", want.from, !want.isSame)
			}
			if cap(got) != len(got) {
				t.Errorf("there is room behind the records from %d", want.from)
			}
			fake.WantLines(t, fake.Positions(got), fake.Positions(all[want.from:want.to])...)
			clear(got) // the slice is the caller's
			copy(all[want.from:], fake.Numbered(15)[want.from:want.to])
		}
		fake.WantLines(t, fake.Positions(all), fake.Positions(fake.Numbered(15))...)
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// A read begins only while Read waits for records. What a read returns that was pending
// when the period was over belongs to the next batch.
func TestBatchingSource_reads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Records: 2, Period: 10 * ms}, "1:a 1:b 3:c 40:d,e,f,g,h 5:i 9:j 5:k")
		fake.WantNoError(t, b.Open(t.Context()))
		b.wantReads(t)
		b.wantNext(t, "2: a b")
		time.Sleep(98 * ms)
		b.wantReads(t, "0", "1") // the batch was full
		b.wantNext(t, "113: c")
		b.wantReads(t, "0", "1", "100", "103")
		time.Sleep(87 * ms)
		b.wantReads(t, "0", "1", "100", "103")          // one read ahead, no more
		b.wantNext(t, "200: d e", "200: f g", "200: h") // h was read at 143
		b.wantReads(t, "0", "1", "100", "103")
		b.wantNext(t, "214: i j", "229: k")
		b.wantReads(t, "0", "1", "100", "103", "200", "205", "214", "219")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// A period that ends while nobody reads makes the next Read return at once, without a
// read. One that has not ended goes on.
func TestBatchingSource_late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Period: 10 * ms}, "0:a 15:b 15:c 13:d")
		b.wantNext(t, "10: a")
		time.Sleep(25 * ms)
		b.wantNext(t, "35: b")
		b.wantReads(t, "0", "0")
		b.wantNext(t, "60: c")
		time.Sleep(5 * ms)
		b.wantNext(t, "73: d")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// Empty reads are spaced out like those of the engine, across calls of Read, and a record
// ends the series.
func TestBatchingSource_emptyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Records: 2}, "0: 0: 0: 0: 0:a 0: 0: 30: 0: 0:b 0: 0: 0:c,d")
		b.wantNext(t, "56: a b", "59: c d")
		b.wantReads(t, "0", "1", "3", "7", "15", "15", "16", "18", "48", "56", "56", "57", "59")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// During the pause after an empty read, no read begins once Read has returned.
func TestBatchingSource_pause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Period: 10 * ms}, "0:a 0: 0: 0: 0: 0:b")
		b.wantNext(t, "10: a")
		time.Sleep(100 * ms)
		b.wantReads(t, "0", "0", "1", "3", "7")
		b.wantNext(t, "120: b")
		b.wantReads(t, "0", "0", "1", "3", "7", "110", "110")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// A Read whose context ends returns its error at once, and loses nothing: neither what
// was collected nor the pending read.
func TestBatchingSource_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Records: 3}, "5:a 50:b,c,d 50:e 40:f,g,h,i 0:")
		until := func(at int) context.Context {
			ctx, cancel := context.WithDeadline(t.Context(), b.start.Add(time.Duration(at)*ms))
			t.Cleanup(cancel)
			return ctx
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		fake.WantLines(t, []string{
			b.next(ended),
			b.next(until(3)), b.next(until(10)), b.next(until(60)),
			b.next(until(59)), b.next(until(61)), b.next(until(62)), b.next(until(1000)),
			b.next(ended), b.next(until(1000)),
		},
			"0: context canceled",
			"3: context deadline exceeded", "10: context deadline exceeded", "55: a b c",
			"59: context deadline exceeded", "61: context deadline exceeded", "62: context deadline exceeded", "145: d e f",
			"145: context canceled", "145: g h i",
		)
		b.wantReads(t, "0", "5", "55", "105")
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// The reads have a context with the values of that of the first Read. It ends at
// Teardown, after the source was torn down, and not before.
func TestBatchingSource_contextOfReads(t *testing.T) {
	for _, teardownErr := range []error{nil, fake.ErrTest} {
		synctest.Test(t, func(t *testing.T) {
			b := newBatching(t, funnel.BatchPolicy{Period: ms}, "")
			var contexts []context.Context
			b.inner.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				contexts = append(contexts, ctx)
				if len(contexts) == 3 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				time.Sleep(10 * ms)
				return fake.Records("a"), nil
			}
			b.inner.OnTeardown = func(context.Context) error {
				time.Sleep(ms)
				if err := contexts[2].Err(); err != nil {
					t.Errorf("before the source was torn down: %v", err)
				}
				return teardownErr
			}
			for _, value := range []string{"first", "second"} {
				ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), fake.ContextKey{}, value), time.Second)
				_, err := b.Read(ctx)
				fake.WantNoError(t, err)
				cancel()
			}
			synctest.Wait()
			for i, ctx := range contexts {
				if ctx.Value(fake.ContextKey{}) != "first" || ctx.Err() != nil {
					t.Errorf("the context of read %d: %v, %v", i, ctx.Value(fake.ContextKey{}), ctx.Err())
				}
			}
			if err := b.Teardown(t.Context()); err != teardownErr {
				t.Errorf("Teardown: %v", err)
			}
			synctest.Wait()
			if err := contexts[2].Err(); err != context.Canceled {
				t.Errorf("after Teardown: %v", err)
			}
		})
	}
}

// Ack runs on the caller's goroutine, also during a read.
func TestBatchingSource_ack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, funnel.BatchPolicy{Period: ms}, "0:a 0:b")
		b.wantNext(t, "1: a b")
		positions := []opencdc.Position{opencdc.Position("a"), opencdc.Position("b")}
		ctx := context.WithValue(t.Context(), fake.ContextKey{}, "ack")
		b.inner.OnAck = func(got context.Context, p []opencdc.Position) error {
			buf := make([]byte, 10_000)
			if stack := string(buf[:runtime.Stack(buf, false)]); !strings.Contains(stack, "TestBatchingSource_ack") {
				t.Errorf("the source is acked by\n%s", stack)
			}
			if got != ctx || len(p) != 2 || &p[0] != &positions[0] {
				t.Errorf("the source was acked with %v, %v", got, p)
			}
			return fake.ErrTest
		}
		if err := b.Ack(ctx, positions); err != fake.ErrTest {
			t.Errorf("Ack: %v", err)
		}
		fake.WantNoError(t, b.Teardown(t.Context()))
	})
}

// A decorator of nothing is nothing. ID and Errors are those of the source.
func TestNewBatchingSource(t *testing.T) {
	var none *fake.Source
	for _, s := range []funnel.Source{nil, none} {
		if got := funnel.NewBatchingSource(s, funnel.BatchPolicy{}); got != nil {
			t.Errorf("the source is a %T", got)
		}
	}
	s := namedSource{errs: make(chan error)}
	b := funnel.NewBatchingSource(s, funnel.BatchPolicy{})
	if b.ID() != "name" || b.Errors() != (<-chan error)(s.errs) {
		t.Errorf("ID %q, other errors", b.ID())
	}
}

// namedSource is a source with a name and errors.
type namedSource struct {
	funnel.Source
	errs chan error
}

func (s namedSource) ID() string           { return "name" }
func (s namedSource) Errors() <-chan error { return s.errs }

// Collecting allocates for each batch, not for each record.
func TestBatchingSource_allocations(t *testing.T) {
	const n = 1000
	read := fake.Records("a")
	s := fake.NewSource(&fake.Journal{})
	s.OnRead = func(context.Context) ([]opencdc.Record, error) { return read, nil }
	b := funnel.NewBatchingSource(s, funnel.BatchPolicy{Records: n, Period: time.Hour})
	got := testing.AllocsPerRun(20, func() {
		if recs, err := b.Read(t.Context()); len(recs) != n || err != nil {
			t.Errorf("%d records, %v", len(recs), err)
		}
	})
	fake.WantNoError(t, b.Teardown(t.Context()))
	if got > 6 {
		t.Errorf("%v allocations for a batch of %d records", got, n)
	}
}
