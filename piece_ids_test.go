package funnel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// withIDs returns the position of each record and, if it has one, its piece ID:
// "1 2a:0 2b:1".
func withIDs(recs []opencdc.Record) string {
	var words []string
	for _, rec := range recs {
		word := string(rec.Position)
		if id, ok := rec.Metadata[funnel.MetadataPieceID]; ok {
			word += ":" + id
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// wantIDs fails the test unless these records, with these IDs, were written.
func wantIDs(t *testing.T, d *fake.Destination, want string) {
	t.Helper()
	if got := withIDs(d.Written); got != want {
		t.Errorf("%s: %s, want %s", d.Name, got, want)
	}
}

// setID returns an answer that gives a record another ID, in metadata of its own.
func setID(id string) func(opencdc.Record) sdk.ProcessedRecord {
	return func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Metadata = opencdc.Metadata{funnel.MetadataPieceID: id}
		return sdk.SingleRecord(rec)
	}
}

// dropMetadata answers with the record without its metadata.
func dropMetadata(rec opencdc.Record) sdk.ProcessedRecord {
	rec.Metadata = nil
	return sdk.SingleRecord(rec)
}

// splitSharing returns an answer that splits a record into n pieces which all have the
// same metadata: those of the record.
func splitSharing(n int) func(opencdc.Record) sdk.ProcessedRecord {
	return func(rec opencdc.Record) sdk.ProcessedRecord {
		pieces := fake.Pieces(rec, n)
		for i := range pieces {
			pieces[i].Metadata = rec.Metadata
		}
		return pieces
	}
}

// splitBare returns an answer that splits a record into n pieces without metadata.
func splitBare(n int) func(opencdc.Record) sdk.ProcessedRecord {
	return func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Metadata = nil
		return splitSharing(n)(rec)
	}
}

// answering returns a processor with these answers by position. The answer for "" is for
// all other records.
func answering(answers fake.Answers) fake.Processor {
	return fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		for _, position := range []string{string(rec.Position), ""} {
			if answer, ok := answers[position]; ok {
				return answer(rec)
			}
		}
		return sdk.SingleRecord(rec)
	})
}

// oneAnswer returns a processor that answers for one record in each call.
func oneAnswer(p fake.Processor) fake.Processor {
	return func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return p(ctx, recs[:1])
	}
}

// everySecond returns a processor that answers for every second record in each call, and
// does not answer the others.
func everySecond(p fake.Processor) fake.Processor {
	return func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i := (len(recs) + 1) % 2; i < len(recs); i += 2 {
			results[i] = p(ctx, recs[i:i+1])[0]
		}
		return results
	}
}

// The ID of a piece is its path through the splits, whatever processors do to it, to the
// other records and to the metadata. It depends neither on how the records are read, nor
// on which ones are answered in the same call.
func TestWithPieceIDs_processors(t *testing.T) {
	all := func(answer func(opencdc.Record) sdk.ProcessedRecord) fake.Answers { return fake.Answers{"": answer} }
	for _, tt := range []struct {
		name       string
		processors []fake.Answers
		want       string // of records 1, 2 and 3
	}{{
		name: "no splits", processors: []fake.Answers{{"1": fake.Pass, "2": splitBare(1), "3": setID("7")}},
		want: "1 2a 3:7",
	}, {
		name: "splits", processors: []fake.Answers{{"2": fake.Split(3), "3": fake.Split(2)}},
		want: "1 2a:0 2b:1 2c:2 3a:0 3b:1",
	}, {
		name: "nested splits", processors: []fake.Answers{
			{"2": fake.Split(3), "3": fake.Split(2)}, {"1": fake.Split(2), "2b": fake.Split(2)}, {"2ba": fake.Split(3), "2c": fake.Split(2)},
		},
		want: "1a:0 1b:1 2a:0 2baa:1.0.0 2bab:1.0.1 2bac:1.0.2 2bb:1.1 2ca:2.0 2cb:2.1 3a:0 3b:1",
	}, {
		name: "a single piece is no split", processors: []fake.Answers{{"2": fake.Split(2)}, {"1": fake.Split(1), "2b": splitBare(1)}, {"2ba": fake.Split(2)}},
		want: "1a 2a:0 2baa:1.0 2bab:1.1 3",
	}, {
		name: "filters before", processors: []fake.Answers{{"1": fake.Filter}, {"2": fake.Split(3)}, {"2a": fake.Filter}, {"2b": fake.Split(2)}},
		want: "2ba:1.0 2bb:1.1 2c:2 3",
	}, {
		name: "filters in the same call", processors: []fake.Answers{{"1": fake.Split(0), "2": fake.Filter, "3": fake.Split(2)}},
		want: "3a:0 3b:1",
	}, {
		name: "nacks in the same call", processors: []fake.Answers{{"1": fake.Split(2), "2": fake.Fail, "3": fake.Split(2)}},
		want: "1a:0 1b:1 3a:0 3b:1",
	}, {
		name: "metadata are dropped", processors: []fake.Answers{all(splitBare(2)), all(dropMetadata), {"2a": splitBare(2)}, all(dropMetadata)},
		want: "1a:0 1b:1 2aa:0.0 2ab:0.1 2b:1 3a:0 3b:1",
	}, {
		name: "metadata are shared", processors: []fake.Answers{all(splitSharing(2)), {"2b": splitSharing(2)}},
		want: "1a:0 1b:1 2a:0 2ba:1.0 2bb:1.1 3a:0 3b:1",
	}, {
		name: "IDs are overwritten", processors: []fake.Answers{all(fake.Split(2)), all(setID("9")), {"2a": fake.Split(2)}, all(setID("0"))},
		want: "1a:0 1b:1 2aa:0.0 2ab:0.1 2b:1 3a:0 3b:1",
	}, {
		name: "IDs are swapped", processors: []fake.Answers{{"2": fake.Split(2)}, {"2a": setID("1"), "2b": setID("0")}},
		want: "1 2a:0 2b:1 3",
	}, {
		name: "records come with IDs", processors: []fake.Answers{all(setID("1")), {"1": fake.Split(2), "2": splitSharing(2)}},
		want: "1a:0 1b:1 2a:0 2b:1 3:1",
	}} {
		for name, decorate := range map[string]func(fake.Processor) funnel.Processor{
			"all answers":          func(p fake.Processor) funnel.Processor { return p },
			"an answer per call":   func(p fake.Processor) funnel.Processor { return oneAnswer(p) },
			"every second answer":  func(p fake.Processor) funnel.Processor { return everySecond(p) },
			"a parallel processor": func(p fake.Processor) funnel.Processor { return fake.Parallel(t, p, 2) },
		} {
			for _, reads := range []string{"1 2 3", "1,2,3", "1 2,3"} {
				t.Run(tt.name+"/"+name+"/"+reads, func(t *testing.T) {
					fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
						j := &fake.Journal{}
						out := fake.NewDestination(j, "out")
						nodes := []*funnel.TaskNode{fake.From(fake.SourceOf(j, strings.Split(reads, ",")...))}
						for i, answers := range tt.processors {
							nodes = append(nodes, fake.Through(fmt.Sprint("p", i), decorate(answering(answers))))
						}
						opts = append(opts, funnel.WithPieceIDs())
						w := fake.NewWorker(t, fake.Chain(append(nodes, fake.To(out))...), fake.DLQ(j), opts...)
						fake.WantNoError(t, fake.RunWorker(t, w))
						wantIDs(t, out, tt.want)
						if got := j.Given("ack"); got != "1 2 3" {
							t.Errorf("acked: %s", got)
						}
					})
				})
			}
		}
	}
}

// Without the option, pieces have no IDs, and an ID is metadata like any other.
func TestWithPieceIDs_off(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		first := fake.FromThen(fake.SourceOf(j, "1 2 3", "4"), func(_ context.Context, b *funnel.Batch) error {
			b.SplitRecord(0, fake.Pieces(b.ActiveRecords()[0], 2))
			return nil
		})
		w := fake.NewWorker(t, fake.Chain(first,
			fake.Through("split", answering(fake.Answers{"1a": fake.Split(2), "2": fake.Split(2)})),
			fake.Through("set", answering(fake.Answers{"2a": setID("7")})), fake.To(out)), nil, opts...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		wantIDs(t, out, "1aa 1ab 1b 2a:7 2b 3 4a 4b")
	})
}

// On branches, pieces keep the IDs from before the fork. Each branch numbers what it
// splits by itself, and no branch sees the IDs of another.
func TestWithPieceIDs_branches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a, b, c, d := fake.NewDestination(j, "a"), fake.NewDestination(j, "b"), fake.NewDestination(j, "c"), fake.NewDestination(j, "d")
		first := fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), fake.Fork(
			fake.Through("split", answering(fake.Answers{"2": splitSharing(2)})),
			fake.To(a),
			fake.Chain(fake.Through("b split", answering(fake.Answers{"1": splitSharing(2), "2a": splitBare(2)})), fake.To(b)),
			fake.Chain(fake.Through("drop", answering(fake.Answers{"": dropMetadata})), fake.Fork(
				fake.Through("c split", answering(fake.Answers{"1": splitSharing(3), "2b": splitSharing(2)})),
				fake.Chain(fake.Through("cc split", answering(fake.Answers{"1b": splitBare(2)})), fake.To(c)),
				fake.Chain(fake.Through("d split", answering(fake.Answers{"2ba": splitSharing(2), "3": splitBare(2)})), fake.To(d)),
			)),
		))
		w := fake.NewWorker(t, first, nil, funnel.WithPieceIDs())
		fake.WantNoError(t, fake.RunWorker(t, w))
		wantIDs(t, a, "1 2a:0 2b:1 3")
		wantIDs(t, b, "1a:0 1b:1 2aa:0.0 2ab:0.1 2b:1 3")
		wantIDs(t, c, "1a:0 1ba:1.0 1bb:1.1 1c:2 2a:0 2ba:1.0 2bb:1.1 3")
		wantIDs(t, d, "1a:0 1b:1 1c:2 2a:0 2baa:1.0.0 2bab:1.0.1 2bb:1.1 3a:0 3b:1")
	})
}

// A custom task sees the IDs as soon as it has split a record. What it does to them is
// undone before the next task gets the pieces. Its own records are left alone.
func TestWithPieceIDs_customTask(t *testing.T) {
	j := &fake.Journal{}
	out := fake.NewDestination(j, "out")
	var seen []string
	split := fake.Custom("split", func(_ context.Context, b *funnel.Batch) error {
		see := func() { seen = append(seen, withIDs(b.ActiveRecords())) }
		pieces := fake.Pieces(b.ActiveRecords()[1], 3)
		b.SplitRecord(1, pieces)
		see()
		b.SplitRecord(2, []opencdc.Record{pieces[1], pieces[1]})
		b.SplitRecord(3, pieces[1:])
		b.Filter(1)
		see()
		if withIDs(pieces) != "2a 2b 2c" {
			t.Errorf("the task's records are %s", withIDs(pieces))
		}
		b.SetRecords(2, fake.Records("new"))
		b.SplitRecord(4, fake.Records("single"))
		b.Nack(3, fake.ErrTest)
		b.Ack(3)
		b.ActiveRecords()[3].Metadata = nil
		b.ActiveRecords()[5].Metadata[funnel.MetadataPieceID] = "7" // it was not split
		return nil
	})
	look := fake.Custom("look", func(_ context.Context, b *funnel.Batch) error {
		seen = append(seen, withIDs(b.ActiveRecords()))
		return nil
	})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), split, look, fake.To(out)), nil, funnel.WithPieceIDs())
	fake.WantNoError(t, fake.RunWorker(t, w))
	const after = "1 2b:1.0 new:1.1.0 2c:1.1.1 single:2 3:7"
	fake.WantLines(t, seen, "1 2a:0 2b:1 2c:2 3", "1 2b:1.0 2b:1.1.0 2c:1.1.1 2c:2 3", after)
	wantIDs(t, out, after)
}

// A record that a task is given again is as the task left it. It gets its ID when the
// task has answered, whether a processor or a custom task.
func TestWithPieceIDs_givenAgain(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		var calls []string
		drop := func(recs []opencdc.Record) {
			calls = append(calls, withIDs(recs))
			for i := range recs {
				recs[i].Metadata = nil
			}
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Through("split", fake.Each(fake.Split(4))),
			fake.Through("p", fake.Processor(func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
				drop(recs)
				results := make([]sdk.ProcessedRecord, (len(recs)+1)/2)
				results[len(results)-1] = sdk.SingleRecord(recs[len(results)-1])
				return results
			})),
			fake.Custom("task", func(_ context.Context, b *funnel.Batch) error {
				n := len(b.ActiveRecords())
				drop(b.ActiveRecords())
				b.Retry(0, n-1)
				return nil
			}),
			fake.To(out)), nil, append(opts, funnel.WithPieceIDs())...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		fake.WantLines(t, calls, "1a:0 1b:1 1c:2 1d:3", "1a", "1a:0", "1b:1", "1c 1d", "1c:2", "1d", "1d:3")
		wantIDs(t, out, "1a:0 1b:1 1c:2 1d:3")
	})
}

// A dead letter has the metadata of the record from before the split, even if the pieces
// share them, whichever piece is nacked by whichever task.
func TestWithPieceIDs_deadLetters(t *testing.T) {
	split := answering(fake.Answers{"": splitSharing(2), "5": setID("7"), "6": setID("7")})
	splitAgain := answering(fake.Answers{"1b": splitSharing(2), "6": splitSharing(2)})
	fail := answering(fake.Answers{"1bb": fake.Fail, "2a": fake.Fail, "5": fake.Fail, "6b": fake.Fail})
	nack := func(_ context.Context, b *funnel.Batch) error {
		for i, rec := range b.ActiveRecords() {
			if string(rec.Position) == "3a" {
				b.Nack(i, fake.ErrTest)
			}
		}
		return nil
	}
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out, dead := fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
		out.Refuse["4b"] = fake.ErrTest
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2", "3 4 5 6 8")),
			fake.Through("split", split), fake.Through("split again", splitAgain),
			fake.Through("fail", fail), fake.Custom("nack", nack), fake.To(out)),
			fake.Queue(dead), append(opts, funnel.WithPieceIDs())...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		wantIDs(t, out, "4a:0 4b:1 8a:0 8b:1")
		var letters []string
		for _, rec := range dead.Written {
			metadata := rec.Payload.After.(opencdc.StructuredData)["metadata"].(map[string]any)
			letters = append(letters, fmt.Sprint(string(rec.Position), metadata, rec.Metadata[funnel.MetadataPieceID]))
		}
		fake.WantLines(t, letters, "1map[id:1]", "2map[id:2]", "3map[id:3]", "4map[id:4]", "5map[funnel.piece:7]", "6map[funnel.piece:7]")
	})
}

// Records that a destination has kept do not change when later tasks split them or drop
// their metadata.
func TestWithPieceIDs_keptRecords(t *testing.T) {
	j := &fake.Journal{}
	kept, out := fake.NewDestination(j, "kept"), fake.NewDestination(j, "out")
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("split", answering(fake.Answers{"1": splitSharing(2)})),
		fake.To(kept), fake.Through("split again", answering(fake.Answers{"1a": dropMetadata, "1b": splitSharing(2), "2": splitSharing(2)})),
		fake.To(out)), nil, funnel.WithPieceIDs())
	fake.WantNoError(t, fake.RunWorker(t, w))
	wantIDs(t, kept, "1a:0 1b:1 2")
	wantIDs(t, out, "1a:0 1ba:1.0 1bb:1.1 2a:0 2b:1")
}

// A custom first task may split records, drop their metadata, and put a batch of its own
// in place of the one that it was given. The pieces of such a batch are numbered when it
// returns.
func TestWithPieceIDs_firstTask(t *testing.T) {
	edits := map[string]func(b *funnel.Batch){
		"1": func(b *funnel.Batch) {
			b.SplitRecord(0, fake.Pieces(b.ActiveRecords()[0], 2))
			if withIDs(b.ActiveRecords()) != "1a:0 1b:1 2" {
				t.Errorf("the task has split its records into %s", withIDs(b.ActiveRecords()))
			}
			b.ActiveRecords()[1].Metadata = nil
		},
		"3": func(b *funnel.Batch) {
			*b = *funnel.NewBatch(b.ActiveRecords())
			b.SplitRecord(1, fake.Pieces(b.ActiveRecords()[1], 3))
			b.SplitRecord(0, fake.Pieces(b.ActiveRecords()[0], 2))
			if withIDs(b.ActiveRecords()) != "3a 3b 4a 4b 4c" {
				t.Errorf("a batch of the task's own has %s", withIDs(b.ActiveRecords()))
			}
			b.Filter(3)
			b.Nack(0, fake.ErrTest)
		},
		"5": func(b *funnel.Batch) { *b = *funnel.NewBatch(b.ActiveRecords()) },
	}
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		first := fake.FromThen(fake.SourceOf(j, "1 2", "3 4", "5 6", "7"), func(_ context.Context, b *funnel.Batch) error {
			if edit := edits[string(b.ActiveRecords()[0].Position)]; edit != nil {
				edit(b)
			}
			return nil
		})
		split := answering(fake.Answers{"1b": fake.Split(2), "4c": fake.Split(2), "5": fake.Split(2), "7": fake.Split(2)})
		var given []string
		look := fake.Custom("look", func(_ context.Context, b *funnel.Batch) error {
			given = append(given, withIDs(b.ActiveRecords()))
			return nil
		})
		w := fake.NewWorker(t, fake.Chain(first, look, fake.Through("split", split), fake.To(out)), fake.DLQ(j), append(opts, funnel.WithPieceIDs())...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		if got, want := strings.Join(given, " "), "1a:0 1b:1 2 4a:0 4c:2 5 6 7"; got != want {
			t.Errorf("the next task was given %s, want %s", got, want)
		}
		wantIDs(t, out, "1a:0 1ba:1.0 1bb:1.1 2 4a:0 4ca:2.0 4cb:2.1 5a:0 5b:1 6 7a:0 7b:1")
		if got := j.Given("ack"); got != "1 2 3 4 5 6 7" {
			t.Errorf("acked: %s", got)
		}
	})
}
