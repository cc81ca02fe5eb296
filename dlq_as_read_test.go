package funnel_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// richRecord returns a record that can be changed in place at several depths.
func richRecord(position string) opencdc.Record {
	return opencdc.Record{
		Position:  opencdc.Position(position),
		Operation: opencdc.OperationCreate,
		Metadata:  opencdc.Metadata{"a": position},
		Key:       opencdc.RawData("key " + position),
		Payload:   opencdc.Change{After: opencdc.StructuredData{"a": 1, "list": []any{map[string]any{"b": position}}}},
	}
}

// spoil changes everything in a record in place.
func spoil(rec opencdc.Record) opencdc.Record {
	rec.Metadata["a"] = "spoiled"
	rec.Key.(opencdc.RawData)[0] = 'x'
	after := rec.Payload.After.(opencdc.StructuredData)
	after["a"] = "spoiled"
	after["list"].([]any)[0].(map[string]any)["b"] = "spoiled"
	return rec
}

func spoilRecord(rec opencdc.Record) sdk.ProcessedRecord { return sdk.SingleRecord(spoil(rec)) }

// replaceRecord returns another record, at another position.
func replaceRecord(rec opencdc.Record) sdk.ProcessedRecord {
	return sdk.SingleRecord(richRecord("new " + string(rec.Position)))
}

// spoilAndSplit changes the record in place and returns pieces that share its data.
func spoilAndSplit(rec opencdc.Record) sdk.ProcessedRecord {
	rec = spoil(rec)
	return sdk.MultiRecord{rec, rec}
}

// failSome nacks the records that come from "2" and "3", after it has changed them.
func failSome(rec opencdc.Record) sdk.ProcessedRecord {
	rec = spoil(rec)
	if p := string(rec.Position); p[len(p)-1] == '2' || p[len(p)-1] == '3' {
		return sdk.ErrorRecord{Error: fake.ErrTest}
	}
	return sdk.SingleRecord(rec)
}

// With the option, dead letters hold the records as they were read, whatever was done to
// them and wherever they were nacked.
func TestWithDeadLettersAsRead(t *testing.T) {
	through := func(id string, answer func(opencdc.Record) sdk.ProcessedRecord) *funnel.TaskNode {
		return fake.Through(id, fake.Each(answer))
	}
	refusingOnly := func(j *fake.Journal, name string, positions ...string) *funnel.TaskNode {
		d := fake.NewDestination(j, name)
		for _, p := range positions {
			d.Refuse[p] = fake.ErrTest
		}
		return fake.To(d)
	}
	refusing := func(j *fake.Journal, name string) *funnel.TaskNode {
		return refusingOnly(j, name, "2", "3", "new 2", "new 3")
	}
	pipelines := map[string]func(j *fake.Journal) []*funnel.TaskNode{
		"only a destination": func(j *fake.Journal) []*funnel.TaskNode { return []*funnel.TaskNode{refusing(j, "out")} },
		"first processor": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{through("p", failSome), fake.Out(j)}
		},
		"later processor": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{through("a", spoilRecord), through("b", replaceRecord), through("p", failSome), fake.Out(j)}
		},
		"pieces": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{through("a", spoilAndSplit), through("p", failSome), fake.Out(j)}
		},
		"destination": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{through("a", spoilRecord), through("b", replaceRecord), refusing(j, "out")}
		},
		"two destinations": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{refusingOnly(j, "first", "2"), refusingOnly(j, "second", "3")}
		},
		"after a destination": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{fake.To(fake.NewDestination(j, "first")), through("a", spoilRecord), refusing(j, "out")}
		},
		"branches": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{fake.Fork(fake.Through("pass", fake.Each(fake.Pass)),
				fake.Chain(through("a", spoilRecord), fake.To(fake.NewDestination(j, "x"))),
				fake.Chain(through("b", spoilAndSplit), refusing(j, "y")),
				fake.To(fake.NewDestination(j, "z")))}
		},
		"branches from the start": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{fake.Fork(fake.To(fake.NewDestination(j, "first")),
				fake.Chain(through("a", spoilRecord), fake.To(fake.NewDestination(j, "x"))),
				fake.Chain(through("p", failSome), fake.To(fake.NewDestination(j, "y"))))}
		},
		"route": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{funnel.NewRouteTask("route", func(rec opencdc.Record) string { return string(rec.Position) },
				funnel.Case{Name: "1", Node: fake.Chain(through("a", spoilRecord), fake.To(fake.NewDestination(j, "x")))},
				funnel.Case{Name: "2", Node: fake.Chain(through("b", failSome), fake.To(fake.NewDestination(j, "y")))},
				funnel.Default(fake.Chain(through("c", spoilAndSplit), through("p", failSome), fake.To(fake.NewDestination(j, "z")))),
			).Node()}
		},
		"custom task": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{fake.Custom("p", func(_ context.Context, b *funnel.Batch) error {
				for i, rec := range b.ActiveRecords() {
					spoil(rec)
					b.SetRecords(i, []opencdc.Record{richRecord("set")})
					if p := string(rec.Position); p == "2" || p == "3" {
						b.Nack(i)
					}
				}
				return nil
			}), fake.Out(j)}
		},
		"retries": func(j *fake.Journal) []*funnel.TaskNode {
			return []*funnel.TaskNode{through("a", spoilRecord),
				fake.Through("p", fake.Processor(func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
					return fake.Each(failSome)(ctx, recs[:1])
				})), fake.Out(j)}
		},
	}
	for name, nodes := range pipelines {
		t.Run(name, func(t *testing.T) {
			for _, opts := range [][]funnel.WorkerOption{
				nil, {funnel.WithWholeBatches()}, {funnel.WithReadAhead(100)}, {funnel.WithOwnershipChecks(func(err error) { t.Error(err) })},
				{funnel.WithPieceIDs(), funnel.WithReadAhead(1)},
			} {
				testAsRead(t, nodes, opts...)
			}
		})
	}
}

func testAsRead(t *testing.T, nodes func(*fake.Journal) []*funnel.TaskNode, opts ...funnel.WorkerOption) {
	t.Helper()
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	source := fake.NewSource(j,
		fake.Read{Records: []opencdc.Record{richRecord("1"), richRecord("2"), richRecord("3"), richRecord("4")}},
		fake.Read{Records: []opencdc.Record{richRecord("5")}})
	first := fake.Chain(append([]*funnel.TaskNode{fake.From(source)}, nodes(j)...)...)
	opts = append(slices.Clone(opts), funnel.WithDeadLettersAsRead())
	fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(dead), opts...)))
	if len(dead.Written) != 2 {
		t.Fatalf("there are %d dead letters", len(dead.Written))
	}
	for i, letter := range dead.Written {
		want := richRecord(fmt.Sprint(i + 2))
		got := parse(t, letter)
		if got.Version != funnel.VersionAsRead || !reflect.DeepEqual(got.Record, want) || string(letter.Position) != string(want.Position) {
			t.Errorf("letter %s holds %v %v, want %v", letter.Position, got.Record, got.Version, want)
		}
	}
}

// What the first task has made of the records counts as read.
func TestWithDeadLettersAsRead_firstTask(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(b *funnel.Batch)
		want []string // positions and versions
	}{
		"sets": {func(b *funnel.Batch) { b.SetRecords(1, []opencdc.Record{richRecord("set 2")}) },
			[]string{"set 2 as it was read", "3 as it was read"}},
		"filters": {func(b *funnel.Batch) { b.Filter(0) },
			[]string{"2 as it was read", "3 as it was read"}},
		"splits": {func(b *funnel.Batch) { b.SplitRecord(1, []opencdc.Record{richRecord("a 2"), richRecord("b 2")}) },
			[]string{"2 as it was read", "3 as it was read"}},
		"nacks": {func(b *funnel.Batch) { b.Nack(0) },
			[]string{"1 as it was read", "2 as it was read", "3 as it was read"}},
		"replaces": {func(b *funnel.Batch) { *b = *funnel.NewBatch([]opencdc.Record{richRecord("x2")}) },
			[]string{"x2 as it was read"}},
	} {
		for _, ahead := range []int{0, 10} {
			j := &fake.Journal{}
			dead := fake.NewDestination(j, "dlq")
			source := fake.NewSource(j, fake.Read{Records: []opencdc.Record{richRecord("1"), richRecord("2"), richRecord("3")}})
			first := fake.FromThen(source, func(_ context.Context, b *funnel.Batch) error {
				if len(b.ActiveRecords()) == 3 {
					tt.then(b)
				}
				return nil
			})
			fake.Chain(first, fake.Through("p", fake.Each(failSome)), fake.Out(j))
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(dead), append(fake.Ahead(ahead), funnel.WithDeadLettersAsRead())...)))
			var got []string
			for _, letter := range dead.Written {
				parsed := parse(t, letter)
				got = append(got, fmt.Sprint(string(parsed.Record.Position), " ", parsed.Version))
				if position := string(parsed.Record.Position); !reflect.DeepEqual(parsed.Record, richRecord(position)) {
					t.Errorf("%s: the letter holds %v", name, parsed.Record)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s, %d ahead: %q, want %q", name, ahead, got, tt.want)
			}
		}
	}
}

// A batch of a task of the host was never read.
func TestWithDeadLettersAsRead_batchOfTheHost(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Out(j)), fake.Queue(dead), funnel.WithDeadLettersAsRead())
	fake.WantNoError(t, w.Nack(t.Context(), fake.NackedBatch("5"), "p"))
	if got := parse(t, dead.Written[0]); got.Version != funnel.VersionAsGiven {
		t.Errorf("the letter holds the record %v", got.Version)
	}
}

// A record that is too deep to be copied stops the worker, unless no task may change it.
func TestWithDeadLettersAsRead_tooDeep(t *testing.T) {
	var deep any = "end"
	for range 10_001 {
		deep = []any{deep}
	}
	recs := []opencdc.Record{{Position: opencdc.Position("1"), Key: opencdc.StructuredData{"deep": deep}}}
	for _, through := range []bool{false, true} {
		for _, queue := range []*funnel.DLQ{nil, fake.DLQ(&fake.Journal{})} {
			j := &fake.Journal{}
			first := fake.From(fake.NewSource(j, fake.Read{Records: slices.Clone(recs)}))
			last := first
			if through {
				last = fake.Through("pass", fake.Each(fake.Pass))
				first.Next = []*funnel.TaskNode{last}
			}
			last.Next = []*funnel.TaskNode{fake.Out(j)}
			err := fake.RunWorker(t, fake.NewWorker(t, first, queue, funnel.WithDeadLettersAsRead()))
			if through && queue != nil {
				fake.WantError(t, err, funnel.ErrTooDeep, `"1"`)
				fake.WantTask(t, err, "pass")
			} else {
				fake.WantNoError(t, err)
			}
		}
	}
}

// If no task may change records, keeping them costs no allocations for each record.
func TestWithDeadLettersAsRead_allocations(t *testing.T) {
	perRecord := func(opts ...funnel.WorkerOption) float64 {
		const batches, size = 50, 100
		return testing.AllocsPerRun(3, func() {
			j := &fake.Journal{}
			source := fake.NewSource(j)
			for range batches {
				source.Reads = append(source.Reads, fake.Read{Records: fake.Numbered(size)})
			}
			dead := fake.NewDestination(j, "dlq")
			first := fake.Chain(fake.From(source), fake.To(fake.NewDestination(j, "out")))
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, fake.Queue(dead), opts...)))
		}) / (batches * size)
	}
	if without, with := perRecord(), perRecord(funnel.WithDeadLettersAsRead()); with > without+0.1 {
		t.Errorf("%.2f allocations for a record, %.2f without the option", with, without)
	}
}
