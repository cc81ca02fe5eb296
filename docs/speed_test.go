package docs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

import "testing"

const ms = time.Millisecond

// slowFeed is a source that takes this long for each read.
func slowFeed(reads, size int, wait time.Duration) funnel.Source {
	return funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		if reads == 0 {
			return nil, io.EOF
		}
		reads--
		time.Sleep(wait)
		records := make([]opencdc.Record, size)
		for i := range records {
			key := fmt.Sprintf("%d.%d", reads, i)
			records[i] = opencdc.Record{Position: opencdc.Position(key), Key: opencdc.RawData(key)}
		}
		return records, nil
	})
}

// slowBulk is a destination that takes this long for each write, however large it is.
func slowBulk(wait time.Duration) funnel.Destination {
	return funnel.DestinationFunc(func(context.Context, []opencdc.Record) error {
		time.Sleep(wait)
		return nil
	})
}

// slowService is a destination that takes this long for each record.
func slowService(wait time.Duration) funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		time.Sleep(time.Duration(len(records)) * wait)
		return nil
	})
}

// lookUp asks a service about a record.
func lookUp(_ context.Context, record opencdc.Record) sdk.ProcessedRecord {
	time.Sleep(2 * ms)
	return sdk.SingleRecord(record)
}

// stopwatch is an observer that adds up the time that each task takes.
type stopwatch struct {
	funnel.NopObserver
	mu    sync.Mutex
	total map[string]time.Duration
}

type beginKey struct{}

func (s *stopwatch) TaskBegin(ctx context.Context, _ funnel.TaskBegin) context.Context {
	return context.WithValue(ctx, beginKey{}, time.Now())
}

func (s *stopwatch) TaskDone(ctx context.Context, e funnel.TaskDone) {
	begin, _ := ctx.Value(beginKey{}).(time.Time)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total[e.TaskID] += time.Since(begin)
}

func findSlowTask(ctx context.Context) error {
	watch := &stopwatch{total: map[string]time.Duration{}}
	begin := time.Now()
	err := funnel.From("feed", slowFeed(10, 160, 10*ms)).
		Through("lookup", funnel.ProcessorFunc(lookUp)).
		To("table", slowBulk(9*ms)).
		Options(funnel.WithObserver(watch)).
		Run(ctx)
	fmt.Println("all:", time.Since(begin), watch.total)
	return err
}

func TestSpeedFindSlowTask(t *testing.T) {
	wantBubbleOutput(t, findSlowTask, `
all: 3.39s map[lookup:3.2s table:90ms]
`)
}

// took runs a pipeline and prints how long it took.
func took(ctx context.Context, what string, p *funnel.Pipeline) error {
	begin := time.Now()
	err := p.Run(ctx)
	fmt.Printf("%-24s %v\n", what, time.Since(begin))
	return err
}

func batchSizes(ctx context.Context) error {
	for _, size := range []int{1, 10, 100, 1000} {
		p := funnel.From("feed", slowFeed(1000/size, size, 0)).To("table", slowBulk(1*ms))
		if err := took(ctx, fmt.Sprintf("batches of %d", size), p); err != nil {
			return err
		}
	}
	return nil
}

func TestSpeedBatchSizes(t *testing.T) {
	wantBubbleOutput(t, batchSizes, `
batches of 1             1s
batches of 10            100ms
batches of 100           10ms
batches of 1000          1ms
`)
}

func readAhead(ctx context.Context) error {
	ahead := funnel.WithReadAhead(1000)
	return errors.Join(
		took(ctx, "batches", funnel.From("feed", slowFeed(100, 10, 10*ms)).To("table", slowBulk(9*ms))),
		took(ctx, "batches, read-ahead", funnel.From("feed", slowFeed(100, 10, 10*ms)).To("table", slowBulk(9*ms)).Options(ahead)),
		took(ctx, "single", funnel.From("feed", slowFeed(40, 1, 10*ms)).To("table", slowBulk(49*ms))),
		took(ctx, "single, read-ahead", funnel.From("feed", slowFeed(40, 1, 10*ms)).To("table", slowBulk(49*ms)).Options(ahead)),
	)
}

func TestSpeedReadAhead(t *testing.T) {
	wantBubbleOutput(t, readAhead, `
batches                  1.9s
batches, read-ahead      1.009s
single                   2.36s
single, read-ahead       451ms
`)
}

// countWrites runs a pipeline of single records and prints how many writes they take.
func countWrites(ctx context.Context, what string, source funnel.Source) error {
	writes := 0
	table := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error {
		writes++
		return nil
	})
	err := funnel.From("feed", source).To("table", table).Run(ctx)
	fmt.Printf("%-24s %d writes\n", what, writes)
	return err
}

func collectBatches(ctx context.Context) error {
	policy := funnel.BatchPolicy{Records: 10, Period: time.Second}
	return errors.Join(
		countWrites(ctx, "single", slowFeed(40, 1, 10*ms)),
		countWrites(ctx, "collected", funnel.NewBatchingSource(slowFeed(40, 1, 10*ms), policy)),
	)
}

func TestSpeedCollectBatches(t *testing.T) {
	wantBubbleOutput(t, collectBatches, `
single                   40 writes
collected                4 writes
`)
}

func compareParallel(ctx context.Context) error {
	one := funnel.ProcessorFunc(lookUp)
	sixteen, err := funnel.NewParallelProcessor(funnel.Concurrent(funnel.ProcessorFunc(lookUp)), 16)
	if err != nil {
		return err
	}
	return errors.Join(
		took(ctx, "1 goroutine", funnel.From("feed", slowFeed(10, 160, 0)).Through("lookup", one).To("table", slowBulk(0))),
		took(ctx, "16 goroutines", funnel.From("feed", slowFeed(10, 160, 0)).Through("lookup", sixteen).To("table", slowBulk(0))),
	)
}

func TestSpeedParallel(t *testing.T) {
	wantBubbleOutput(t, compareParallel, `
1 goroutine              3.2s
16 goroutines            200ms
`)
}

func compareLanes(ctx context.Context) error {
	sixteen := funnel.NewPartitionedDestination(16,
		func(record opencdc.Record) string { return string(record.Key.Bytes()) },
		func(int) (funnel.Destination, error) { return slowService(2 * ms), nil })
	return errors.Join(
		took(ctx, "1 destination", funnel.From("feed", slowFeed(10, 160, 0)).To("service", slowService(2*ms))),
		took(ctx, "16 lanes", funnel.From("feed", slowFeed(10, 160, 0)).To("service", sixteen)),
	)
}

func TestSpeedLanes(t *testing.T) {
	wantBubbleOutput(t, compareLanes, `
1 destination            3.2s
16 lanes                 200ms
`)
}

// everyTenth nacks every tenth record.
func everyTenth(record opencdc.Record) (opencdc.Record, error) {
	if strings.HasSuffix(string(record.Key.Bytes()), "5") {
		return record, errors.New("it ends in 5")
	}
	return record, nil
}

func wholeBatches(ctx context.Context) error {
	pipeline := func() *funnel.Pipeline {
		return funnel.From("feed", slowFeed(10, 100, 0)).
			Through("check", funnel.Map(everyTenth)).
			To("table", slowBulk(1*ms)).
			DeadLetters("refused", slowBulk(1*ms), 0, 0)
	}
	return errors.Join(
		took(ctx, "divided batches", pipeline()),
		took(ctx, "whole batches", pipeline().Options(funnel.WithWholeBatches())),
	)
}

func TestSpeedWholeBatches(t *testing.T) {
	wantBubbleOutput(t, wholeBatches, `
divided batches          210ms
whole batches            20ms
`)
}
