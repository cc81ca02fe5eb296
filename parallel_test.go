package funnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// goroutine returns the name of the goroutine that calls it.
func goroutine() string {
	stack := make([]byte, 64)
	stack = stack[:runtime.Stack(stack, false)]
	name, _, _ := bytes.Cut(stack, []byte(" ["))
	return string(name)
}

// claimant is a processor that says whether several goroutines may call it.
type claimant struct {
	lifeProcessor
	isConcurrent bool
}

func (p claimant) IsConcurrent() bool { return p.isConcurrent }

// NewParallelProcessor says what is wrong with its processor or number of workers.
func TestNewParallelProcessor_errors(t *testing.T) {
	var none *claimant
	decorated := fake.Parallel(t, fake.Each(fake.Pass), 2)
	for _, tt := range []struct {
		name    string
		p       funnel.Processor
		workers int
		words   []string
	}{
		{"nil", nil, 2, []string{"nil"}},
		{"nil pointer", none, 2, []string{"nil"}},
		{"no workers", fake.Concurrent{Processor: fake.Each(fake.Pass)}, 0, []string{"0 workers"}},
		{"fewer than no workers", fake.Concurrent{Processor: fake.Each(fake.Pass)}, -1, []string{"-1 workers"}},
		{"says nothing", fake.Each(fake.Pass), 2, []string{"fake.Processor", "not a ConcurrentProcessor"}},
		{"says no", claimant{isConcurrent: false}, 2, []string{"claimant", "IsConcurrent returns false"}},
		{"says no to one worker", claimant{isConcurrent: false}, 1, []string{"IsConcurrent returns false"}},
		{"is parallel already", decorated, 2, []string{"not a ConcurrentProcessor"}},
	} {
		p, err := funnel.NewParallelProcessor(tt.p, tt.workers)
		if p != nil {
			t.Errorf("%s: there is a processor", tt.name)
		}
		fake.WantError(t, err, nil, append(tt.words, "in parallel")...)
	}
}

// The processor is opened and torn down once, and its errors are returned.
func TestParallelProcessor_life(t *testing.T) {
	j := &fake.Journal{}
	for _, err := range []error{nil, fake.ErrTest} {
		p, newErr := funnel.NewParallelProcessor(claimant{lifeProcessor{Journal: j, err: err}, true}, 3)
		fake.WantNoError(t, newErr)
		if got := p.Open(t.Context()); got != err {
			t.Errorf("Open: %v", got)
		}
		if got := p.Teardown(t.Context()); got != err {
			t.Errorf("Teardown: %v", got)
		}
	}
	j.Want(t, "", "open processor", "teardown processor", "open processor", "teardown processor")
}

// A batch is divided evenly into as many parts as there are workers, or records.
// All parts are processed at the same time, and the results are in order.
func TestParallelProcessor_parts(t *testing.T) {
	for size := range 41 {
		for workers := range 21 {
			if size > 0 && workers > 0 {
				synctest.Test(t, func(t *testing.T) { testParts(t, size, workers) })
			}
		}
	}
}

func testParts(t *testing.T, size, workers int) {
	type part struct {
		recs      []opencdc.Record
		goroutine string
	}
	var mu sync.Mutex
	var parts []part
	barrier := make(chan struct{})
	inner := func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		mu.Lock()
		parts = append(parts, part{recs, goroutine()})
		mu.Unlock()
		<-barrier
		return fake.Each(fake.Pass)(ctx, recs)
	}
	p := fake.Parallel(t, inner, workers)
	recs := fake.Numbered(size)
	var caller string
	var results []sdk.ProcessedRecord
	go func() {
		caller = goroutine()
		results = p.Process(t.Context(), recs)
	}()
	synctest.Wait()

	n := min(size, workers)
	if len(parts) != n {
		t.Errorf("%d records, %d workers: %d parts at the same time, want %d", size, workers, len(parts), n)
	}
	if results != nil {
		t.Errorf("%d records, %d workers: there are results before the parts have ended", size, workers)
	}
	slices.SortFunc(parts, func(a, b part) int {
		first := func(p part) int { i, _ := strconv.Atoi(string(p.recs[0].Position)); return i }
		return first(a) - first(b)
	})
	from := 0
	for _, part := range parts {
		length := len(part.recs)
		if length != size/n && length != (size+n-1)/n {
			t.Errorf("%d records, %d workers: a part of %d", size, workers, length)
		}
		if from+length > size || &part.recs[0] != &recs[from] {
			t.Errorf("%d records, %d workers: no part starts at record %d", size, workers, from)
			break
		}
		if n > 1 && cap(part.recs) != length {
			t.Errorf("%d records, %d workers: the part at record %d can grow into the next one", size, workers, from)
		}
		if (part.goroutine == caller) != (n == 1) {
			t.Errorf("%d records, %d workers: a part on %s, called on %s", size, workers, part.goroutine, caller)
		}
		from += length
	}
	if from != size {
		t.Errorf("%d records, %d workers: the parts hold %d records", size, workers, from)
	}

	close(barrier)
	synctest.Wait()
	if len(parts) != n {
		t.Errorf("%d records, %d workers: there were %d calls", size, workers, len(parts))
	}
	if want := fake.Each(fake.Pass)(t.Context(), recs); !reflect.DeepEqual(results, want) {
		t.Errorf("%d records, %d workers: the results are %v", size, workers, results)
	}
}

// Without records the processor is not called.
func TestParallelProcessor_noRecords(t *testing.T) {
	p := fake.Parallel(t, func(context.Context, []opencdc.Record) []sdk.ProcessedRecord {
		t.Error("the processor was called")
		return nil
	}, 3)
	if got := p.Process(t.Context(), nil); len(got) != 0 {
		t.Errorf("results: %v", got)
	}
}

// Every mix of results, including no answer, has the same effect however many parts
// there are.
func TestParallelProcessor_everyMixOfResults(t *testing.T) {
	none := func(opencdc.Record) sdk.ProcessedRecord { return nil }
	kinds := []func(opencdc.Record) sdk.ProcessedRecord{
		fake.Pass, fake.Filter, fake.Fail, fake.Split(0), fake.Split(1), fake.Split(3), none,
	}
	recs := fake.Numbered(4)
	for code := range 7 * 7 * 7 * 7 {
		do := fake.Answers{}
		for i, c := 0, code; i < len(recs); i, c = i+1, c/7 {
			do[strconv.Itoa(i)] = kinds[c%7]
		}
		want := fake.ByPosition(do)(t.Context(), recs)
		for workers := range 5 {
			got := fake.Parallel(t, fake.ByPosition(do), workers+1).Process(t.Context(), recs)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("mix %d, %d workers: %v, want %v", code, workers+1, got, want)
			}
		}
	}
}

// If a part has fewer results than records, the rest of its records have no answer. The
// results of the next part stay at their indices.
func TestParallelProcessor_shortResults(t *testing.T) {
	const perPart = 3
	recs := fake.Numbered(3 * perPart)
	for code := range perPart * perPart * perPart {
		answers := []int{code%3 + 1, code/3%3 + 1, code/9 + 1}
		p := fake.Parallel(t, func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			i, _ := strconv.Atoi(string(recs[0].Position))
			return fake.Each(fake.Pass)(ctx, recs[:answers[i/perPart]])
		}, 3)
		for range 2 { // the second call finds what the first one has left
			for i, result := range p.Process(t.Context(), recs) {
				var want sdk.ProcessedRecord
				if i%perPart < answers[i/perPart] {
					want = sdk.SingleRecord(recs[i])
				}
				if !reflect.DeepEqual(result, want) {
					t.Errorf("%v answers, record %d: %v, want %v", answers, i, result, want)
				}
			}
		}
	}
}

// No result of one call is left in the next call.
func TestParallelProcessor_callAfterCall(t *testing.T) {
	answers := 0
	p := fake.Parallel(t, func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return fake.Each(fake.Pass)(ctx, recs[:min(answers, len(recs))])
	}, 2)
	for _, size := range []int{10, 3, 7, 1, 12, 2, 12} {
		for _, answers = range []int{size, 1} {
			recs := fake.Numbered(size)
			results := p.Process(t.Context(), recs)
			first, n := map[int]bool{0: true, size / 2: true}, min(2, size)
			if len(results) != size && n > 1 {
				t.Errorf("%d records: %d results", size, len(results))
			}
			for i, result := range results {
				if want := answers == size || first[i]; (result != nil) != want {
					t.Errorf("%d records, %d answers for a part: result %d is %v", size, answers, i, result)
				}
			}
		}
	}
}

// Only records without an answer are passed again.
func TestParallelProcessor_givenAgain(t *testing.T) {
	j := &fake.Journal{}
	firstOnly := fake.Parallel(t, func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		j.AddRecords("process", recs)
		return fake.Each(fake.Pass)(ctx, recs[:1])
	}, 3)
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5 6 7 8 9")), fake.Through("p", firstOnly), fake.Out(j)))
	calls := j.Lines("process")
	slices.Sort(calls) // concurrent calls come in any order
	want := []string{
		"process 1 2 3", "process 2", "process 3",
		"process 4 5 6", "process 5", "process 6",
		"process 7 8 9", "process 8", "process 9",
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls: %q", calls)
	}
	j.Want(t, "out", "out 1", "out 2 3", "out 4", "out 5 6", "out 7", "out 8 9")
}

// Without any answer, the worker gives up, as with any other processor.
func TestParallelProcessor_noAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		var calls atomic.Int64
		p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			calls.Add(1)
			return make([]sdk.ProcessedRecord, len(recs))
		}, 2)
		err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", p), fake.Out(j))
		fake.WantError(t, err, nil, `task "p"`, "no answer for 3 records")
		if calls.Load() != 16*2 || !funnel.IsFatalError(err) {
			t.Errorf("%d calls, error %v", calls.Load(), err)
		}
		j.Want(t, "out ack")
	})
}

// If the results of a part are invalid, the worker stops with an error that names the
// task, and nothing of the batch is written or acked. The results of the other parts
// stay at their indices.
func TestParallelProcessor_failedPart(t *testing.T) {
	const size, workers = 8, 3
	sizes, starts := []int{2, 3, 3}, []int{0, 2, 5}
	for _, tt := range []struct {
		name   string
		broken fake.Processor
		words  string
	}{
		{"nil", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil },
			"returned no result"},
		{"empty", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return []sdk.ProcessedRecord{} },
			"returned no result"},
		{"too many", func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			return append(fake.Each(fake.Pass)(ctx, recs), sdk.FilterRecord{})
		}, "returned more results, %d"},
		{"many too many", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord {
			return slices.Repeat([]sdk.ProcessedRecord{nil}, 100)
		}, "returned more results, 100"},
		{"too many, with another position", func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			recs[0].Position = opencdc.Position("changed")
			return append(fake.Each(fake.Pass)(ctx, recs), nil)
		}, "returned more results, %d"},
		{"goexit", func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { runtime.Goexit(); return nil },
			"ended by runtime.Goexit"},
	} {
		for brokenPart, start := range starts {
			t.Run(fmt.Sprint(tt.name, brokenPart), func(t *testing.T) {
				p := fake.Parallel(t, func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
					if string(recs[0].Position) == strconv.Itoa(start) {
						return tt.broken(ctx, recs)
					}
					return fake.Each(fake.Pass)(ctx, recs)
				}, workers)

				results := p.Process(t.Context(), fake.Numbered(size))
				if len(results) != size {
					t.Fatalf("%d results", len(results))
				}
				words := tt.words
				if strings.Contains(words, "%d") {
					words = fmt.Sprintf(words, sizes[brokenPart]+1)
				}
				err, _ := results[start].(error)
				fake.WantError(t, err, nil, words, fmt.Sprintf("%d records from %q on", sizes[brokenPart], strconv.Itoa(start)))
				for i, result := range results {
					var want sdk.ProcessedRecord
					if i < start || i >= start+sizes[brokenPart] {
						want = sdk.SingleRecord(fake.Numbered(size)[i])
					}
					if i != start && !reflect.DeepEqual(result, want) {
						t.Errorf("result %d is %v, want %v", i, result, want)
					}
				}

				j := &fake.Journal{}
				err = fake.Run(t, nil, fake.From(fake.NewSource(j, fake.Read{Records: fake.Numbered(size)})), fake.Through("p", p), fake.Out(j))
				fake.WantError(t, err, nil, `task "p"`, words, fmt.Sprintf("%d records from %q on", sizes[brokenPart], strconv.Itoa(start)))
				j.Want(t, "out ack")
			})
		}
	}
}

// If several parts fail, the error of the first one in the batch comes first.
func TestParallelProcessor_failedParts(t *testing.T) {
	p := fake.Parallel(t, func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return nil }, 3)
	j := &fake.Journal{}
	err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", p), fake.Out(j))
	fake.WantError(t, err, nil, `task "p"`, `"1"`)
}

// A result of an unknown kind, in any part, is an error that names the record.
func TestParallelProcessor_unknownKind(t *testing.T) {
	for _, position := range []string{"1", "2", "3", "4", "5"} {
		pointer := func(rec opencdc.Record) sdk.ProcessedRecord { return (*sdk.SingleRecord)(&rec) }
		p := fake.Parallel(t, fake.ByPosition(fake.Answers{position: pointer}), 3)
		j := &fake.Journal{}
		err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("p", p), fake.Out(j))
		fake.WantError(t, err, nil, `task "p"`, strconv.Quote(position), "*sdk.SingleRecord")
		j.Want(t, "out ack")
	}
}

// A failed part does not hide a result of an unknown kind in another part, nor the
// other way round.
func TestParallelProcessor_unknownKindBesideAFailedPart(t *testing.T) {
	for _, bad := range []string{"1", "2"} {
		p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if string(recs[0].Position) == bad {
				return []sdk.ProcessedRecord{(*sdk.SingleRecord)(&recs[0])}
			}
			return nil
		}, 2)
		err := fake.Run(t, nil, fake.From(fake.SourceOf(&fake.Journal{}, "1 2")), fake.Through("p", p), fake.Out(&fake.Journal{}))
		fake.WantError(t, err, funnel.ErrProcessorResults, strconv.Quote(bad), "*sdk.SingleRecord", "no result")
	}
}

// The errors of all failed parts keep their sentinels.
func TestParallelProcessor_sentinels(t *testing.T) {
	for name, want := range map[string]error{"nothing": funnel.ErrProcessorResults, "more": funnel.ErrProcessorResults, "goexit": funnel.ErrGoexit} {
		p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			switch name {
			case "more":
				return make([]sdk.ProcessedRecord, len(recs)+1)
			case "goexit":
				runtime.Goexit()
			}
			return nil
		}, 2)
		err := fake.Run(t, nil, fake.From(fake.SourceOf(&fake.Journal{}, "1 2")), fake.Through("p", p), fake.Out(&fake.Journal{}))
		fake.WantError(t, err, want, `from "1" on`, `from "2" on`)
		fake.WantTask(t, err, "p")
	}
}

// A single part runs on the goroutine of the caller, which runtime.Goexit ends.
func TestParallelProcessor_goexitOfTheOnlyPart(t *testing.T) {
	p := fake.Parallel(t, func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { runtime.Goexit(); return nil }, 3)
	hasReturned := false
	var caller sync.WaitGroup
	caller.Go(func() {
		p.Process(t.Context(), fake.Numbered(1))
		hasReturned = true
	})
	caller.Wait()
	if hasReturned {
		t.Error("Process has returned")
	}
}

func explode(value any) []sdk.ProcessedRecord { panic(value) }

// A panic in a part reaches the caller of Do when the other parts have ended. The
// worker can then be stopped and closed.
func TestParallelProcessor_panic(t *testing.T) {
	for i := range 3 {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			p := fake.Parallel(t, func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				if string(recs[0].Position) == strconv.Itoa(i) {
					return explode(fake.ErrTest)
				}
				time.Sleep(time.Second)
				if ctx.Err() != nil {
					t.Error("the context of another part has ended")
				}
				j.Add("ended")
				return fake.Each(fake.Pass)(ctx, recs)
			}, 3)
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "0 1 2")), fake.Through("p", p), fake.Out(j)), nil)
			fake.WantNoError(t, w.Open(t.Context()))
			value := fake.PanicOf(func() { _ = w.Do(t.Context()) })
			j.Add("panicked")
			err, ok := value.(*funnel.PanicError)
			if !ok || err.Value != fake.ErrTest || !errors.Is(err, fake.ErrTest) || !strings.Contains(string(err.Stack), "explode") {
				t.Errorf("Do panicked with %v", value)
			}
			fake.WantNoError(t, w.Stop(t.Context()))
			fake.WantNoError(t, w.Close(t.Context()))
			j.Want(t, "out ack ended panicked", "ended", "ended", "panicked")
		})
	}
}

// If several parts panic, the first panic comes back, whatever else goes wrong.
func TestParallelProcessor_panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			switch position := string(recs[0].Position); position {
			case "0":
				return nil
			case "1":
				runtime.Goexit()
			case "2", "4":
				time.Sleep(time.Second)
				fallthrough
			default:
				panic(position)
			}
			return nil
		}, 5)
		value := fake.PanicOf(func() { p.Process(t.Context(), fake.Numbered(5)) })
		if err, ok := value.(*funnel.PanicError); !ok || err.Value != "3" {
			t.Errorf("Process panicked with %v", value)
		}
	})
}

// A panic on another goroutine is wrapped in a PanicError, once. One on the
// goroutine of the caller is not.
func TestParallelProcessor_panicIsWrappedOnce(t *testing.T) {
	var none *funnel.PanicError
	wrapped := &funnel.PanicError{Value: fake.ErrTest}
	for _, value := range []any{wrapped, fake.ErrTest, none} {
		p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if string(recs[0].Position) != "0" {
				return []sdk.ProcessedRecord{sdk.SingleRecord(recs[0])}
			}
			return explode(value)
		}, 3)
		if got := fake.PanicOf(func() { p.Process(t.Context(), fake.Numbered(1)) }); got != value {
			t.Errorf("with one part, Process panicked with %v, want %v", got, value)
		}
		got := fake.PanicOf(func() { p.Process(t.Context(), fake.Numbered(3)) })
		err, ok := got.(*funnel.PanicError)
		if !ok || err == nil || (err == wrapped) != (value == wrapped) || err != wrapped && err.Value != value {
			t.Errorf("Process panicked with %v, want %v", got, value)
		}
	}
}

// A panic counts even if runtime.Goexit is already ending the goroutine of the part.
func TestParallelProcessor_panicAfterGoexit(t *testing.T) {
	p := fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		if string(recs[0].Position) == "1" {
			defer panic(fake.ErrTest)
			runtime.Goexit()
		}
		return []sdk.ProcessedRecord{sdk.FilterRecord{}}
	}, 2)
	defer func() {
		if got, ok := recover().(*funnel.PanicError); !ok || got.Value != error(fake.ErrTest) {
			t.Errorf("the panic is %v", got)
		}
	}()
	p.Process(t.Context(), fake.Numbered(2))
	t.Error("there is no panic")
}

// When a call ends, in whatever way, its goroutines have ended.
func TestParallelProcessor_noGoroutineIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		for _, last := range []fake.Processor{
			fake.Each(fake.Pass),
			func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return explode(fake.ErrTest) },
			func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { runtime.Goexit(); return nil },
		} {
			p := fake.Parallel(t, func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				defer running.Add(-1)
				running.Add(1)
				i, _ := strconv.Atoi(string(recs[0].Position))
				if i == 0 {
					return last(ctx, recs)
				}
				time.Sleep(time.Duration(i) * time.Second)
				return fake.Each(fake.Pass)(ctx, recs)
			}, 4)
			fake.PanicOf(func() { p.Process(t.Context(), fake.Numbered(4)) })
			if n := running.Load(); n != 0 {
				t.Errorf("%d parts are still running", n)
			}
			synctest.Wait()
			stacks := make([]byte, 1<<20)
			all := strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")
			_, bubble, _ := strings.Cut(strings.SplitN(all[0], "]", 2)[0], ", ") // that of this goroutine
			for _, stack := range all {
				head, _, _ := strings.Cut(stack, "\n") // other tests may have left some that are about to end
				if strings.Contains(head, bubble) && strings.Contains(stack, "parallelProcessor") {
					t.Errorf("a goroutine is left:\n%s", stack)
				}
			}
		}
	})
}

// Each part gets the very context of Process.
func TestParallelProcessor_context(t *testing.T) {
	ctx := context.WithValue(t.Context(), fake.ContextKey{}, "value")
	for size := range 5 {
		var calls atomic.Int64
		p := fake.Parallel(t, func(got context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			calls.Add(1)
			if got != ctx {
				t.Errorf("a part was given the context %v", got)
			}
			return fake.Each(fake.Pass)(got, recs)
		}, 3)
		p.Process(ctx, fake.Numbered(size))
		if n := int(calls.Load()); n != min(size, 3) {
			t.Errorf("%d records: %d calls", size, n)
		}
	}
}

// For 1,000 slow records, 16 workers take as long as one worker takes for 63, the size
// of the largest part.
func TestParallelProcessor_speed(t *testing.T) {
	wait := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		time.Sleep(2 * time.Millisecond)
		return sdk.SingleRecord(rec)
	})
	took := func(p funnel.Processor) (d time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.NewSource(j, fake.Read{Records: fake.Numbered(1000)})), fake.Through("p", p), fake.Out(j)), nil)
			start := time.Now()
			fake.WantNoError(t, w.Do(t.Context()))
			d = time.Since(start)
		})
		return d
	}
	plain, fast := took(wait), took(fake.Parallel(t, wait, 16))
	if plain != 2*time.Second || fast != 126*time.Millisecond || plain < 14*fast {
		t.Errorf("it took %v instead of %v", fast, plain)
	}
}
