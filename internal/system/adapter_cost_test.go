package system_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// These tests and benchmarks show what connectors and processors made of functions cost,
// next to ones that are written by hand.

// adapters are processors, with the allocations that a record takes in a task: one for a
// record in an sdk.ProcessedRecord, two for two pieces.
var adapters = []struct {
	name   string
	p      funnel.Processor
	allocs float64
}{
	{"by hand", handWritten(), 1},
	{"ProcessorFunc", funnel.ProcessorFunc(func(_ context.Context, rec opencdc.Record) sdk.ProcessedRecord {
		return sdk.SingleRecord(rec)
	}), 1},
	{"ProcessorFunc that filters", funnel.ProcessorFunc(func(context.Context, opencdc.Record) sdk.ProcessedRecord {
		return sdk.FilterRecord{}
	}), 0},
	{"Filter that keeps", funnel.Filter(func(opencdc.Record) bool { return true }), 0},
	{"Filter that drops", funnel.Filter(func(opencdc.Record) bool { return false }), 0},
	{"Map", funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) { return rec, nil }), 0},
	{"Split into one", funnel.Split(func(rec opencdc.Record) ([]opencdc.Record, error) { return oneOf(rec), nil }), 1},
	{"Split into two", funnel.Split(func(rec opencdc.Record) ([]opencdc.Record, error) { return twoOf(rec), nil }), 2},
}

var pieceMemory = make([]opencdc.Record, 2)

func oneOf(rec opencdc.Record) []opencdc.Record { pieceMemory[0] = rec; return pieceMemory[:1] }

func twoOf(rec opencdc.Record) []opencdc.Record {
	pieceMemory[0], pieceMemory[1] = rec, rec
	return pieceMemory
}

// handWritten returns a processor that reuses its results.
func handWritten() funnel.Processor {
	var results []sdk.ProcessedRecord
	return fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results = results[:0]
		for _, rec := range recs {
			results = append(results, sdk.SingleRecord(rec))
		}
		return results
	})
}

func TestProcessorFunc_allocations(t *testing.T) {
	for _, size := range []int{1, 1000} {
		recs := slices.Repeat([]opencdc.Record{{Position: opencdc.Position("p")}}, size)
		for _, a := range adapters {
			process := processing(a.p, recs)
			n := testing.AllocsPerRun(100, func() { process(t.Context()) })
			if n > a.allocs*float64(size)+batchAllocs {
				t.Errorf("%s, %d records: %v allocations", a.name, size, n)
			}
		}
	}
}

// batchAllocs is what the batch of processing allocates at most.
const batchAllocs = 6

// processing returns a function that passes records through a processor's task, as a batch.
func processing(p funnel.Processor, recs []opencdc.Record) func(context.Context) {
	task := funnel.NewProcessorTask("task", p, log.Nop(), nil)
	given := make([]opencdc.Record, len(recs))
	return func(ctx context.Context) {
		copy(given, recs)
		if err := task.Do(ctx, funnel.NewBatch(given)); err != nil {
			panic(err)
		}
	}
}

func TestDestinationFunc_allocations(t *testing.T) {
	channel := make(chan opencdc.Record, 1000)
	for name, d := range map[string]funnel.Destination{
		"function": funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil }),
		"channel":  funnel.NewChannelDestination(channel),
	} {
		for _, size := range []int{1000, 1, 1000} {
			recs, ctx := make([]opencdc.Record, size), t.Context()
			n := testing.AllocsPerRun(100, func() {
				fake.WantNoError(t, deliver(ctx, d, recs))
				for len(channel) > 0 {
					<-channel
				}
			})
			if n > 0 {
				t.Errorf("%s, %d records: %v allocations", name, size, n)
			}
		}
	}
}

// A source that was made of a slice allocates for what it copies only.
func TestSliceSource_allocations(t *testing.T) {
	s := funnel.SliceSource(slices.Repeat([]opencdc.Record{{Position: opencdc.Position("p")}}, 1000)...)
	n := testing.AllocsPerRun(100, func() {
		if err := s.Open(t.Context()); err != nil {
			t.Error(err)
		}
		_, _ = s.Read(t.Context())
	})
	if n > 1 {
		t.Errorf("a read makes %v allocations", n)
	}
}

func BenchmarkProcessorFunc(b *testing.B) {
	recs := slices.Repeat([]opencdc.Record{{Position: opencdc.Position("p")}}, 1000)
	for _, a := range adapters {
		b.Run(a.name, func(b *testing.B) {
			b.ReportAllocs()
			process := processing(a.p, recs)
			for b.Loop() {
				process(b.Context())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(recs)), "ns/record")
		})
	}
}

func BenchmarkDestinationFunc(b *testing.B) {
	for name, d := range map[string]funnel.Destination{
		"by hand": &handAcks{},
		"func":    funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil }),
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkBatch(b, func() *funnel.TaskNode {
				return fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
			})
		})
	}
}

// handAcks is a destination that is written by hand.
type handAcks struct {
	funnel.Destination
	acks []connector.DestinationAck
}

func (d *handAcks) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = d.acks[:0]
	for _, rec := range recs {
		d.acks = append(d.acks, connector.DestinationAck{Position: rec.Position})
	}
	return nil
}

func (d *handAcks) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

func BenchmarkSourceFunc(b *testing.B) {
	s := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) { return nil, nil })
	b.ReportAllocs()
	ctx := b.Context()
	for b.Loop() {
		_, _ = s.Read(ctx)
	}
}

func BenchmarkChannelDestination(b *testing.B) {
	for _, size := range []int{0, 1000} {
		b.Run(fmt.Sprint("buffer=", size), func(b *testing.B) {
			records := make(chan opencdc.Record, size)
			go func() {
				for range records {
				}
			}()
			defer close(records)
			benchmarkBatch(b, func() *funnel.TaskNode {
				return fake.Node(funnel.NewDestinationTask("out", funnel.NewChannelDestination(records), log.Nop(), nil))
			})
		})
	}
}

// The deep copies of Split, for rows of ten columns.
func BenchmarkSplit(b *testing.B) {
	row := opencdc.StructuredData{}
	for i := range 10 {
		row[fmt.Sprint("column ", i)] = i
	}
	recs := slices.Repeat([]opencdc.Record{{Metadata: opencdc.Metadata{"k": "v"}, Payload: opencdc.Change{After: row}}}, 1000)
	p := funnel.Split(func(rec opencdc.Record) ([]opencdc.Record, error) { return twoOf(rec), nil })
	b.ReportAllocs()
	for b.Loop() {
		p.Process(b.Context(), recs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*len(recs)), "ns/piece")
}
