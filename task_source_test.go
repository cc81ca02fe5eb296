package funnel_test

import (
	"context"
	"testing"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// A custom first task may edit, mark or replace its batches. In any case, read ahead or
// not, the records come out in order, and nacked ones go to the dead-letter queue.
func TestSourceTask_customFirstTask(t *testing.T) {
	edits := map[string]func(*funnel.Batch){
		"2":  func(b *funnel.Batch) { b.Nack(0, fake.ErrOf("2")) },
		"4":  func(b *funnel.Batch) { b.Filter(1) },
		"6":  func(b *funnel.Batch) { b.Filter(0) },
		"7":  func(b *funnel.Batch) { b.SplitRecord(0, fake.Pieces(b.ActiveRecords()[0], 2)) },
		"9":  func(b *funnel.Batch) { b.SetRecords(0, fake.Records("9new")) },
		"12": func(b *funnel.Batch) { *b = *funnel.NewBatch(append(fake.Records("11new"), b.ActiveRecords()...)) },
		"13": func(b *funnel.Batch) { *b = *funnel.NewBatch(b.ActiveRecords()); b.Nack(1) },
		"15": func(b *funnel.Batch) { b.Retry(0); b.Ack(0) },
		"17": func(b *funnel.Batch) { b.Nack(0, fake.ErrTest); b.Filter(2) },
	}
	for _, slow := range []time.Duration{0, time.Millisecond} {
		t.Run("a write takes "+slow.String(), func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				batches := []string{"1", "2 3", "4 5", "6", "7", "8", "9", "10", "12", "13 14", "15", "16", "17 18 19"}
				s := &fake.StrictSource{T: t, Source: fake.SourceOf(j, batches...)}
				first := fake.FromThen(s, func(_ context.Context, b *funnel.Batch) error {
					if edit := edits[string(b.ActiveRecords()[0].Position)]; edit != nil {
						edit(b)
					}
					return nil
				})
				w := fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", slow))), fake.DLQ(j), opts...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				j.WantGiven(t, "1 3 4 7a 7b 8 9new 10 11new 12 13 15 16 18", "2 14 17", "1 2 3 4 5 6 7 8 9 10 11new 12 13 14 15 16 17 18 19")
				if len(opts) == 0 {
					j.Want(t, "out dlq ack",
						"out 1", "ack 1", "dlq 2", "ack 2", "out 3", "ack 3", "out 4", "ack 4 5", "ack 6", "out 7a 7b", "ack 7",
						"out 8", "ack 8", "out 9new", "ack 9", "out 10", "ack 10", "out 11new 12", "ack 11new 12",
						"out 13", "ack 13", "dlq 14", "ack 14", "out 15", "ack 15", "out 16", "ack 16",
						"dlq 17", "ack 17", "out 18", "ack 18 19")
				}
			})
		})
	}
}

// ownFirstTask is a first task that replaces each batch by one of its own, or by a zero
// Batch if the read fails or the source ends.
type ownFirstTask struct {
	fake.Task
	source *fake.Source
}

func (f *ownFirstTask) GetSource() funnel.Source { return f.source }

func (f *ownFirstTask) Do(ctx context.Context, b *funnel.Batch) error {
	recs, err := f.source.Read(ctx)
	if err == nil {
		*b = *funnel.NewBatch(recs)
	} else {
		*b = funnel.Batch{}
	}
	return err
}

// A first task may put a batch of its own in place of the one that it was given.
func TestSourceTask_firstTaskMakesBatches(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		own := fake.Node(&ownFirstTask{Task: fake.Task{Name: "own"}, source: fake.SourceOf(j, "1", "", "2 3", "4")})
		fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(own, fake.Out(j)), nil, opts...)))
		j.WantGiven(t, "1 2 3 4", "", "1 2 3 4")
		if len(opts) == 0 {
			j.Want(t, "out ack", "out 1", "ack 1", "out 2 3", "ack 2 3", "out 4", "ack 4")
		}
	})
}

// A first task that replaces a batch that it has read by a zero Batch has lost its
// records, which is an error. No other records are lost.
func TestSourceTask_firstTaskLosesRecords(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		first := fake.FromThen(fake.SourceOf(j, "1", "2", "3 4", "5"), func(_ context.Context, b *funnel.Batch) error {
			if string(b.ActiveRecords()[0].Position) == "3" {
				*b = funnel.Batch{}
			}
			return nil
		})
		w := fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", time.Millisecond))), nil, opts...)
		fake.WantError(t, fake.RunWorker(t, w), funnel.ErrLostRecords, "2 of 2 records", "lost")
		j.WantGiven(t, "1 2", "", "1 2")
	})
}

// A first task cannot retry records. Without read-ahead, it refuses those that it is
// given again. With read-ahead, it may be reading others meanwhile.
func TestSourceTask_isNotRetried(t *testing.T) {
	for _, tt := range []struct {
		name       string
		retry      func(b *funnel.Batch)
		sequential string // what is delivered; with read-ahead, always 1 only
	}{
		{"one", func(b *funnel.Batch) { b.Retry(1) }, "1 2"},
		{"the rest", func(b *funnel.Batch) { b.Retry(1, 3) }, "1 2"},
		{"all", func(b *funnel.Batch) { b.Retry(0, 3) }, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				first := fake.FromThen(fake.SourceOf(j, "1", "2 3 4", "5"), func(_ context.Context, b *funnel.Batch) error {
					if len(b.ActiveRecords()) == 3 {
						tt.retry(b)
					}
					return nil
				})
				err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", time.Millisecond))), nil, opts...))
				if len(opts) == 0 {
					fake.WantError(t, err, nil, `"source"`, "holds records already")
					j.WantGiven(t, tt.sequential, "", tt.sequential)
					return
				}
				fake.WantError(t, err, nil, `"source"`, "again", "read ahead")
				fake.WantFatal(t, err, true)
				j.WantGiven(t, "1", "", "1")
			})
		})
	}
}

// The engine does not write behind the records that a read has returned.
func TestSourceTask_spareCapacity(t *testing.T) {
	j := &fake.Journal{}
	all := fake.Records("1", "2", "3", "4")
	s := fake.NewSource(j, fake.Read{Records: all[:2]}, fake.Read{Records: all[2:]})
	split := fake.Custom("split", func(_ context.Context, b *funnel.Batch) error {
		for i := len(b.ActiveRecords()) - 1; i >= 0; i-- {
			b.SplitRecord(i, fake.Records("a", "b"))
		}
		return nil
	})
	keep := fake.Custom("keep", func(_ context.Context, b *funnel.Batch) error {
		j.AddRecords("kept", b.ActiveRecords())
		return nil
	})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(s), keep, split, fake.Out(j)))
	j.Want(t, "kept ack", "kept 1 2", "ack 1 2", "kept 3 4", "ack 3 4")
}
