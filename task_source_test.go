package funnel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The first task may be one that wraps a SourceTask, or that makes batches of
// its own.
func TestWorker_customFirstTask(t *testing.T) {
	j := &fake.Journal{}
	source := fake.SourceOf(j, "1 2 3")
	first := fake.Node(&wrappedSource{SourceTask: funnel.NewSourceTask("source", source, log.Nop(), nil)})
	fake.WantNoError(t, fake.Run(t, fake.DLQ(j), first, fake.Out(j)))
	j.Want(t, "out ack dlq", "dlq 1", "ack 1", "out 2", "ack 2 3")

	j.Clear()
	own := fake.Node(&ownSource{source: fake.SourceOf(j, "4 5")})
	fake.WantNoError(t, fake.Run(t, nil, own, fake.Out(j)))
	j.Want(t, "out ack", "out 4 5", "ack 4 5")
}

type wrappedSource struct{ *funnel.SourceTask }

func (s *wrappedSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if b.HasActiveRecords() {
		b.Nack(0, fake.ErrTest)
		b.Filter(2)
	}
	return err
}

type ownSource struct {
	fake.Task
	source *fake.Source
}

func (s *ownSource) ID() string { return "own" }

func (s *ownSource) GetSource() funnel.Source { return s.source }

func (s *ownSource) Do(ctx context.Context, b *funnel.Batch) error {
	recs, err := s.source.Read(ctx)
	if err == nil {
		*b = *funnel.NewBatch(recs)
	} else {
		*b = funnel.Batch{}
	}
	return err
}

// A first task of one's own may do with its batches what it likes, some of which
// is seen in the dead-letter queue. Marked or not, they come out as they do from
// the sequential walk.
func TestWithReadAhead_customFirstTask(t *testing.T) {
	var w *funnel.Worker
	edits := map[string]func(context.Context, *funnel.Batch) error{
		"2": func(_ context.Context, b *funnel.Batch) error { b.Nack(0, fake.ErrOf("2")); return nil },
		"4": func(_ context.Context, b *funnel.Batch) error { b.Filter(1); return nil },
		"6": func(_ context.Context, b *funnel.Batch) error { b.Filter(0); return nil },
		"7": func(_ context.Context, b *funnel.Batch) error {
			b.SplitRecord(0, fake.Pieces(b.ActiveRecords()[0], 2))
			return nil
		},
		"9": func(_ context.Context, b *funnel.Batch) error {
			b.SetRecords(0, fake.Records("9new"))
			return nil
		},
		"12": func(_ context.Context, b *funnel.Batch) error {
			*b = *funnel.NewBatch(append(fake.Records("11new"), b.ActiveRecords()...))
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
				j := &fake.Journal{}
				s := &fake.StrictSource{T: t, Source: fake.SourceOf(j, "1", "2 3", "4 5", "6", "7", "8", "9", "10", "12", "13 14", "15", "16")}
				first := fake.FromThen(s, func(ctx context.Context, b *funnel.Batch) error {
					if edit := edits[string(b.ActiveRecords()[0].Position)]; edit != nil {
						return edit(ctx, b)
					}
					return nil
				})
				w = fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", slow))), fake.DLQ(j), fake.Ahead(ahead)...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				j.WantGiven(t, "1 3 4 7a 7b 8 9new 10 11new 12 13 15 16", "2 14", "1 2 3 4 5 6 7 8 9 10 11new 12 13 14 15 16")
			})
		}
	}
}

// A first task that makes batches of its own, zero ones if it has nothing.
func TestWithReadAhead_firstTaskMakesBatches(t *testing.T) {
	for _, ahead := range []int{1, 100} {
		j := &fake.Journal{}
		own := fake.Node(&ownSource{source: fake.SourceOf(j, "1", "", "2 3", "4")})
		fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(own, fake.Out(j)), nil, fake.Ahead(ahead)...)))
		j.WantGiven(t, "1 2 3 4", "", "1 2 3 4")
	}
}

// A first task that puts a zero Batch in the place of one that it has read has
// lost it, which is an error. Nothing else is taken for what it has lost.
func TestWithReadAhead_firstTaskLosesRecords(t *testing.T) {
	for _, ahead := range []int{0, 1, 100} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			s := fake.SourceOf(j, "1", "2", "3 4", "5")
			first := fake.FromThen(s, func(_ context.Context, b *funnel.Batch) error {
				if string(b.ActiveRecords()[0].Position) == "3" {
					*b = funnel.Batch{}
				}
				return nil
			})
			err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", time.Millisecond))), nil, fake.Ahead(ahead)...))
			fake.WantError(t, err, nil, "2 of 2 records", "lost")
			j.WantGiven(t, "1 2", "", "1 2")
		})
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
			j := &fake.Journal{}
			first := fake.FromThen(fake.SourceOf(j, "1", "2 3 4", "5"), func(_ context.Context, b *funnel.Batch) error {
				if len(b.ActiveRecords()) > 1 {
					tt.retry(b)
				}
				return nil
			})
			err := fake.RunWorker(t, fake.NewWorker(t, fake.Chain(first, fake.To(fake.SlowDestination(j, "out", time.Millisecond))), nil, funnel.WithReadAhead(100)))
			fake.WantError(t, err, nil, `"source"`, "again", "read ahead")
			fake.WantFatal(t, err, true)
			j.WantGiven(t, "1", "", "1")
		})
	}
}

// A first task that wants its records again cannot have them: they are there.
func TestWorker_sourceTaskIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		retries := &retryingSource{funnel.NewSourceTask("source", fake.SourceOf(j, "1"), log.Nop(), nil)}
		err := fake.Run(t, nil, fake.Node(retries), fake.Out(j))
		fake.WantError(t, err, nil, `"source"`, "holds records already")
		j.Want(t, "out ack")
	})
}

type retryingSource struct{ *funnel.SourceTask }

func (s *retryingSource) Do(ctx context.Context, b *funnel.Batch) error {
	err := s.SourceTask.Do(ctx, b)
	if err == nil {
		b.Retry(0)
	}
	return err
}
