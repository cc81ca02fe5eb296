package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// resultsText describes results: the positions, or f, e and the error, or nil.
func resultsText(results []sdk.ProcessedRecord) string {
	var words []string
	for _, result := range results {
		switch result := result.(type) {
		case nil:
			words = append(words, "nil")
		case sdk.SingleRecord:
			words = append(words, string(result.Position))
		case sdk.FilterRecord:
			words = append(words, "f")
		case sdk.ErrorRecord:
			words = append(words, fmt.Sprintf("e:%v", result.Error))
		case sdk.MultiRecord:
			words = append(words, strings.Join(fake.Positions(result), "+"))
		}
	}
	return strings.Join(words, " ")
}

// byPosition is a function of a record that does what its position says.
func byPosition(rec opencdc.Record) ([]opencdc.Record, error) {
	switch p := string(rec.Position); p[0] {
	case 'f':
		return nil, nil
	case 'e':
		return []opencdc.Record{rec}, errors.New(p)
	case 's':
		return fake.Pieces(rec, 3), nil
	default:
		rec.Position = opencdc.Position(p + "'")
		return []opencdc.Record{rec}, nil
	}
}

// Each constructor turns what its function returns into results, at the same index, in
// calls of all sizes, and as a part of a parallel processor.
func TestProcessorFunc_results(t *testing.T) {
	ctx := context.WithValue(t.Context(), fake.ContextKey{}, "value")
	for name, tt := range map[string]struct {
		p    funnel.Processor
		want map[string]string // by input
	}{
		"ProcessorFunc": {
			funnel.ProcessorFunc(func(ctx context.Context, rec opencdc.Record) sdk.ProcessedRecord {
				if ctx.Value(fake.ContextKey{}) != "value" {
					t.Error("the function got another context")
				}
				if rec.Position[0] == 'n' {
					return nil
				}
				return fake.Split(2)(rec)
			}),
			map[string]string{"1 n 2": "1a+1b nil 2a+2b", "n n": "nil nil"},
		},
		"Filter": {
			funnel.Filter(func(rec opencdc.Record) bool { return rec.Position[0] != 'f' }),
			map[string]string{"1 f1 f2 2": "1 f f 2", "f": "f", "1": "1"},
		},
		"Map": {
			funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
				recs, err := byPosition(rec)
				return recs[0], err
			}),
			map[string]string{"1 e1 2": "1' e:e1 2'"},
		},
		"Split": {
			funnel.Split(byPosition),
			map[string]string{"1 f s e1 2": "1' f sa+sb+sc e:e1 2'"},
		},
	} {
		parallel, err := funnel.NewParallelProcessor(funnel.Concurrent(tt.p), 3)
		fake.WantNoError(t, err)
		for _, p := range []funnel.Processor{tt.p, funnel.Concurrent(tt.p), parallel} {
			fake.WantNoError(t, p.Open(ctx))
			for in, want := range tt.want {
				if got := resultsText(p.Process(ctx, fake.Records(strings.Fields(in)...))); got != want {
					t.Errorf("%s, a %T: %s gives %s, want %s", name, p, in, got, want)
				}
			}
			fake.WantNoError(t, p.Teardown(ctx))
		}
	}
}

// When the context ends between two records, the others have no answer. If it has ended
// before, the first has its error, since no result at all is not allowed.
func TestProcessorFunc_contextEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	calls := 0
	p := funnel.ProcessorFunc(func(_ context.Context, rec opencdc.Record) sdk.ProcessedRecord {
		if calls++; calls == 2 {
			cancel(fake.ErrTest)
		}
		return sdk.SingleRecord(rec)
	})
	if got := resultsText(p.Process(ctx, fake.Numbered(5))); got != "0 1" {
		t.Errorf("the results are %s", got)
	}
	if got := resultsText(p.Process(ctx, fake.Numbered(5))); got != "e:context canceled" || calls != 2 {
		t.Errorf("after %d calls, the results are %s", calls, got)
	}
}

// A worker whose context ends during a call nacks nothing and acks nothing.
func TestProcessorFunc_shutdown(t *testing.T) {
	for _, at := range []string{"1", "2", "3"} {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancel(t.Context())
		p := funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
			if string(rec.Position) == at {
				cancel()
			}
			return rec, nil
		})
		end := fake.NewDestination(j, "out")
		end.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { return ctx.Err() }
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), fake.Through("p", p), fake.To(end)), fake.DLQ(j))
		fake.WantNoError(t, w.Open(ctx))
		fake.WantError(t, w.Do(ctx), context.Canceled)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "dlq")
		j.Want(t, "ack")
	}
}

// A call does not write to the results of another one, and a panic leaves nothing behind.
// So one processor may be used in several places.
func TestProcessorFunc_ownResults(t *testing.T) {
	for name, p := range map[string]funnel.Processor{"": funnel.Split(byPosition), "concurrent": funnel.Concurrent(funnel.Split(byPosition))} {
		first := p.Process(t.Context(), fake.Records("1", "s"))
		p.Process(t.Context(), fake.Records("2", "s2"))
		if got := resultsText(first); got != "1' sa+sb+sc" {
			t.Errorf("%s: the results of the first call have become %s", name, got)
		}
	}
	j := &fake.Journal{}
	p := funnel.Filter(func(opencdc.Record) bool { return true })
	branch := func(id string) *funnel.TaskNode {
		return fake.Chain(fake.Through("p "+id, p), fake.To(fake.NewDestination(j, id)))
	}
	var batches []string
	for i := range 50 {
		batches = append(batches, fmt.Sprintf("a%d b%d a%d b%d", i, i, i+100, i+100))
	}
	route := funnel.NewRouteTask("route", func(rec opencdc.Record) string { return string(rec.Position[:1]) },
		funnel.Case{Name: "a", Node: branch("a")}, funnel.Case{Name: "b", Node: branch("b")})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, batches...)), route.Node()))
	if a, b := j.Given("a"), j.Given("b"); strings.Contains(a, "b") || strings.Contains(b, "a") || len(strings.Fields(a+" "+b)) != 200 {
		t.Errorf("branch a got %s, branch b %s", a, b)
	}
}

// plainProcessor is a processor of which a task knows nothing but the interface.
type plainProcessor struct{ funnel.Processor }

// A task applies a processor to the records in place. The outcome is the same as with the
// results of Process, also beside records that were filtered, split or nacked before.
func TestProcessorFunc_inPlace(t *testing.T) {
	for seed := range uint64(200) {
		outcome := func(hide func(funnel.Processor) funnel.Processor) string {
			rng := rand.New(rand.NewPCG(seed, 0))
			j := &fake.Journal{}
			nodes := []*funnel.TaskNode{fake.From(fake.SourceOf(j, "1 2 3 4 5 6 7 8", "9 10 11 12 13 14 15 16"))}
			for i := range 1 + rng.IntN(4) {
				salt, size := rng.Uint64(), 2+rng.Uint64N(6)
				chance := func(rec opencdc.Record) bool {
					h := fnv.New64a()
					_, _ = h.Write(rec.Position)
					return (h.Sum64()^salt)>>8%size == 0
				}
				processors := []funnel.Processor{
					funnel.Filter(func(rec opencdc.Record) bool { return !chance(rec) }),
					funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
						if chance(rec) {
							return opencdc.Record{}, fake.ErrTest
						}
						rec.Key = opencdc.RawData(fmt.Sprintf("%v.%d", rec.Key, i))
						return rec, nil
					}),
					funnel.Split(func(rec opencdc.Record) ([]opencdc.Record, error) {
						if chance(rec) {
							return []opencdc.Record{rec, rec}, nil
						}
						return []opencdc.Record{rec}, nil
					}),
				}
				nodes = append(nodes, fake.Through(fmt.Sprint("p", i), hide(processors[rng.IntN(len(processors))])))
			}
			end := fake.NewDestination(j, "out")
			var written []string
			end.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				for _, rec := range recs {
					written = append(written, fmt.Sprintf("%s:%v", rec.Position, rec.Key))
				}
				return nil
			}
			nodes = append(nodes, fake.To(end))
			fake.WantNoError(t, fake.Run(t, fake.DLQ(j), nodes...))
			return fmt.Sprint(written, j.Given("dlq"), j.Given("ack"))
		}
		inPlace := outcome(func(p funnel.Processor) funnel.Processor { return p })
		byResults := outcome(func(p funnel.Processor) funnel.Processor { return plainProcessor{p} })
		if inPlace != byResults {
			t.Fatalf("seed %d: in place %s\nby results %s", seed, inPlace, byResults)
		}
	}
}

// Process does not write to the slice of records.
func TestMap_process(t *testing.T) {
	records := fake.Records("1", "e1", "2")
	p := funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
		recs, err := byPosition(rec)
		return recs[0], err
	})
	p.Process(t.Context(), records)
	for i, want := range []string{"1", "e1", "2"} {
		if got := string(records[i].Position); got != want {
			t.Errorf("record %d has become %s, it was %s", i, got, want)
		}
	}
}

// Calls of the function run at the same time.
func TestConcurrent_parallel(t *testing.T) {
	const workers = 4
	meet := fake.Meeting(workers)
	p, err := funnel.NewParallelProcessor(funnel.Concurrent(funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
		meet()
		return rec, nil
	})), workers)
	fake.WantNoError(t, err)
	if got := resultsText(p.Process(t.Context(), fake.Numbered(workers))); got != "0 1 2 3" {
		t.Errorf("the results are %s", got)
	}
}

// Only a declared processor runs in parallel. Any processor can be declared; nil stays
// nil.
func TestConcurrent(t *testing.T) {
	for _, p := range []funnel.Processor{funnel.Filter(func(opencdc.Record) bool { return true }), fake.Each(fake.Pass)} {
		if _, err := funnel.NewParallelProcessor(p, 2); err == nil {
			t.Errorf("a %T runs in parallel", p)
		}
		c := funnel.Concurrent(p)
		if _, err := funnel.NewParallelProcessor(c, 2); err != nil || !c.IsConcurrent() {
			t.Errorf("a %T does not run in parallel: %v", p, err)
		}
		if got := resultsText(c.Process(t.Context(), fake.Numbered(2))); got != "0 1" {
			t.Errorf("a %T gives %s", p, got)
		}
	}
	if p := funnel.Concurrent(nil); p != nil {
		t.Errorf("nil has become a %T", p)
	}
	if p := funnel.Concurrent(fake.Processor(nil)); p != nil {
		t.Errorf("a nil processor has become a %T", p)
	}
}

// Pieces share nothing with each other, with the record, or with what the function keeps.
func TestSplit_ownMaps(t *testing.T) {
	shared := opencdc.StructuredData{"list": []any{map[string]any{"n": 1}}}
	template := []opencdc.Record{{Metadata: opencdc.Metadata{"k": "v"}, Key: shared, Payload: opencdc.Change{Before: shared, After: opencdc.RawData("raw")}}}
	template = append(template, template[0])
	p := funnel.Split(func(opencdc.Record) ([]opencdc.Record, error) { return template, nil })
	pieces := p.Process(t.Context(), fake.Numbered(1))[0].(sdk.MultiRecord)
	pieces[0].Metadata["k"] = "changed"
	pieces[0].Key.(opencdc.StructuredData)["list"].([]any)[0].(map[string]any)["n"] = 2
	pieces[0].Payload.Before.(opencdc.StructuredData)["new"] = true
	pieces[0].Payload.After.(opencdc.RawData)[0] = 'R'
	pieces[0].Operation = opencdc.OperationDelete
	for _, rec := range append(template, pieces[1]) {
		n := rec.Key.(opencdc.StructuredData)["list"].([]any)[0].(map[string]any)["n"]
		_, hasNew := rec.Payload.Before.(opencdc.StructuredData)["new"]
		if rec.Metadata["k"] != "v" || n != 1 || hasNew || string(rec.Payload.After.Bytes()) != "raw" || rec.Operation != 0 {
			t.Errorf("a change of a piece shows in %v", rec)
		}
	}
}

// A piece that is nested too deeply nacks the record. A record that is only replaced is
// not copied.
func TestSplit_tooDeep(t *testing.T) {
	var deep any
	for range 10_001 {
		deep = map[string]any{"": deep}
	}
	pieces := 2
	p := funnel.Split(func(rec opencdc.Record) ([]opencdc.Record, error) {
		recs := fake.Numbered(pieces)
		recs[pieces-1].Key = opencdc.StructuredData{"deep": deep}
		return recs, nil
	})
	failed, _ := p.Process(t.Context(), fake.Numbered(1))[0].(sdk.ErrorRecord)
	fake.WantError(t, failed.Error, funnel.ErrTooDeep, "piece 1 of 2")
	pieces = 1
	if got := resultsText(p.Process(t.Context(), fake.Numbered(1))); got != "0" {
		t.Errorf("the result is %s", got)
	}
}

// In a worker, a nacked piece sends the record from before the split to the dead-letter
// queue, unchanged by what happened to the pieces.
func TestSplit_worker(t *testing.T) {
	j := &fake.Journal{}
	split := funnel.Split(func(rec opencdc.Record) ([]opencdc.Record, error) { return []opencdc.Record{rec, rec}, nil })
	calls := 0
	spoil := funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
		calls++
		rec.Metadata["id"] += fmt.Sprint(" spoiled ", calls)
		if calls == 2 {
			return rec, fake.ErrTest
		}
		return rec, nil
	})
	queue := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(queue), fake.From(fake.SourceOf(j, "1")), fake.Through("split", split), fake.Through("spoil", spoil), fake.Out(j)))
	letter := fmt.Sprint(queue.Written[0].Payload.After)
	if !strings.Contains(letter, "1") || strings.Contains(letter, "spoiled") {
		t.Errorf("the dead letter is %s", letter)
	}
	j.WantGiven(t, "", "1", "1")
}

// A nil function is an error of NewWorker that names the task and the constructor, and of
// Open.
func TestProcessorFunc_nil(t *testing.T) {
	for name, p := range map[string]funnel.Processor{
		"ProcessorFunc": funnel.ProcessorFunc(nil),
		"Filter":        funnel.Filter(nil),
		"Map":           funnel.Map(nil),
		"Split":         funnel.Split(nil),
	} {
		parallel, err := funnel.NewParallelProcessor(funnel.Concurrent(p), 2)
		fake.WantNoError(t, err)
		for _, p := range []funnel.Processor{p, funnel.Concurrent(p), parallel} {
			j := &fake.Journal{}
			_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Through("p", p), fake.Out(j)), nil, log.Nop(), nil)
			fake.WantError(t, err, nil, name, "nil")
			fake.WantTask(t, err, "p")
			fake.WantError(t, p.Open(t.Context()), nil, name)
		}
	}
}

// Without answers the worker gives up, as with any processor.
func TestProcessorFunc_noAnswer(t *testing.T) {
	j := &fake.Journal{}
	p := funnel.ProcessorFunc(func(context.Context, opencdc.Record) sdk.ProcessedRecord { return nil })
	policy := funnel.WithRetryPolicy(funnel.RetryPolicy{MaxCalls: 3, MinPause: time.Microsecond})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", p), fake.Out(j)), nil, policy)
	fake.WantError(t, fake.RunWorker(t, w), funnel.ErrNoProgress)
}
