package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// marks are what a task does to a batch in one call.
type marks func(b *funnel.Batch)

// outcome sends one batch of records through a task that does the marks of one round
// per call, and then nothing. It returns what became of the records, a line per call:
//
//	task a b     the active records that the task was given
//	out a        what was written to the destination
//	dlq a:err    what was written to the dead-letter queue, and why
//	ack a b      the positions that were acked
func outcome(t *testing.T, positions string, rounds ...marks) []string {
	t.Helper()
	j := &fake.Journal{}
	task := func(_ context.Context, b *funnel.Batch) error {
		j.AddRecords("task", b.ActiveRecords())
		if len(rounds) > 0 {
			round := rounds[0]
			rounds = rounds[1:]
			round(b)
		}
		return nil
	}
	fake.WantNoError(t, fake.Run(t, fake.QueueWithErrors(j), fake.From(fake.SourceOf(j, positions)), fake.Custom("marks", task), fake.Out(j)))
	return j.Lines("task out dlq ack")
}

// boom returns an error for each text.
func boom(texts ...string) []error {
	errs := make([]error, len(texts))
	for i, text := range texts {
		errs[i] = errors.New(text)
	}
	return errs
}

// pieces returns records with these positions, which are separated by spaces.
func pieces(positions string) []opencdc.Record { return fake.Records(strings.Fields(positions)...) }

// Each mark that a task makes has its effect on what becomes of the records.
func TestBatch_marks(t *testing.T) {
	for _, c := range []struct {
		name   string
		batch  string
		rounds []marks
		want   []string // without the first call of the task
	}{{
		name: "records are acked by default", batch: "a b",
		want: []string{"out a b", "ack a b"},
	}, {
		name: "an ack changes nothing", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) { b.Ack(0); b.Ack(0, 2); b.Ack(2, 2) }},
		want:   []string{"out a b", "ack a b"},
	}, {
		name: "filtered records are acked with the others", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(3); b.Filter(1) }},
		want:   []string{"out a c", "ack a b c d"},
	}, {
		name: "a range is filtered", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(1, 3) }},
		want:   []string{"out a d", "ack a b c d"},
	}, {
		name: "all are filtered", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(0, 3) }},
		want:   []string{"ack a b c"},
	}, {
		name: "filtering goes on where the last one ended", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(0); b.Filter(0); b.Filter(1) }},
		want:   []string{"out c", "ack a b c d"},
	}, {
		name: "one record is nacked", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.Nack(1, boom("x")...) }},
		want:   []string{"out a", "ack a", "dlq b:x", "ack b", "out c", "ack c"},
	}, {
		name: "a nack for each error", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Nack(1, boom("x", "y")...) }},
		want:   []string{"out a", "ack a", "dlq b:x c:y", "ack b c", "out d", "ack d"},
	}, {
		name: "nacks without an error", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) { b.Nack(0); b.Nack(1, nil) }},
		want: []string{
			"dlq a:the record was nacked without an error b:the record was nacked without an error", "ack a b",
		},
	}, {
		name: "nacks after filtered records", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(0); b.Filter(1); b.Nack(0, boom("x", "y")...) }},
		want:   []string{"ack a", "dlq b:x", "ack b", "ack c", "dlq d:y", "ack d"},
	}, {
		name: "the last mark counts", batch: "a b c d e f",
		rounds: []marks{func(b *funnel.Batch) {
			b.Nack(0, boom("x", "x", "x", "x")...)
			b.Ack(0)
			b.Nack(1, boom("y")...)
			b.Retry(2)
			b.Retry(4)
			b.Ack(4)
			b.Retry(5)
			b.Nack(5, boom("z")...)
			b.Filter(3)
		}},
		want: []string{
			"out a", "ack a", "dlq b:y", "ack b", "task c", "out c", "ack c", "out e", "ack d e", "dlq f:z", "ack f",
		},
	}, {
		name: "marks that are taken back leave the batch whole", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) {
			b.Nack(1)
			b.Retry(2, 4)
			b.Ack(0, 4)
		}},
		want: []string{"out a b c d", "ack a b c d"},
	}, {
		name: "one record is retried", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(1) }},
		want:   []string{"out a", "ack a", "task b", "out b", "ack b", "out c", "ack c"},
	}, {
		name: "records with a filtered one between them are retried apart", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(1); b.Retry(0, 2) }},
		want:   []string{"task a", "out a", "ack a", "ack b", "task c", "out c", "ack c", "out d", "ack d"},
	}, {
		name: "a record is retried again and again", batch: "a b",
		rounds: []marks{
			func(b *funnel.Batch) { b.Retry(0) },
			func(b *funnel.Batch) { b.Retry(0, 1) },
			func(b *funnel.Batch) { b.Nack(0, boom("x")...) },
		},
		want: []string{"task a", "task a", "dlq a:x", "ack a", "out b", "ack b"},
	}, {
		name: "the tail is retried", batch: "a b c d",
		rounds: []marks{
			func(b *funnel.Batch) { b.Retry(2, 4) },
			func(b *funnel.Batch) { b.Retry(1, 2) },
		},
		want: []string{"out a b", "ack a b", "task c d", "out c", "ack c", "task d", "out d", "ack d"},
	}, {
		name: "the whole batch is retried", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(0, 2) }},
		want:   []string{"task a b", "out a b", "ack a b"},
	}, {
		name: "the tail is retried, then records before it are marked", batch: "a b c d e",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(3, 5); b.Filter(2); b.Nack(0, boom("x")...) }},
		want:   []string{"dlq a:x", "ack a", "out b", "ack b c", "task d e", "out d e", "ack d e"},
	}, {
		name: "the tail is retried, then records in it are marked", batch: "a b c d e",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(1, 5); b.Nack(2, boom("x")...); b.Filter(3); b.Ack(3) }},
		want: []string{
			"out a", "ack a", "task b", "out b", "ack b", "dlq c:x", "ack c", "out e", "ack d e",
		},
	}, {
		name: "the tail is retried, then records on both sides are marked at once", batch: "a b c d e",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(2, 5); b.Nack(1, boom("x", "y")...); b.Filter(0) }},
		want:   []string{"ack a", "dlq b:x c:y", "ack b c", "task d e", "out d e", "ack d e"},
	}, {
		name: "the tail is retried twice", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(2, 4); b.Retry(1, 4) }},
		want:   []string{"out a", "ack a", "task b c d", "out b c d", "ack b c d"},
	}, {
		name: "the record before the tail is retried as well", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(2, 4); b.Retry(1) }},
		want:   []string{"out a", "ack a", "task b c d", "out b c d", "ack b c d"},
	}, {
		name: "the retry of the tail is taken back", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(1, 3); b.Ack(0, 3) }},
		want:   []string{"out a b c", "ack a b c"},
	}, {
		name: "the tail is retried after its middle was filtered", batch: "a b c d e",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(3); b.Filter(1); b.Retry(1, 3) }},
		want:   []string{"out a", "ack a b", "task c", "out c", "ack c", "ack d", "task e", "out e", "ack e"},
	}, {
		name: "the tail is retried after its front was filtered", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Filter(1); b.Filter(1); b.Retry(1, 2) }},
		want:   []string{"out a", "ack a b c", "task d", "out d", "ack d"},
	}, {
		name: "the tail is filtered after it was marked to be retried", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(1, 4); b.Filter(1, 4) }},
		want:   []string{"out a", "ack a b c d"},
	}, {
		name: "the tail is retried after a nack", batch: "a b c d",
		rounds: []marks{func(b *funnel.Batch) { b.Nack(1, boom("x")...); b.Retry(2, 4) }},
		want:   []string{"out a", "ack a", "dlq b:x", "ack b", "task c d", "out c d", "ack c d"},
	}, {
		name: "the tail is split after it was marked to be retried", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(1, 3); b.SplitRecord(1, pieces("b1 b2")) }},
		want:   []string{"out a b1 b2", "ack a b", "task c", "out c", "ack c"},
	}, {
		name: "records before the tail are split", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.Retry(1, 3); b.SplitRecord(0, pieces("a1 a2")) }},
		want:   []string{"out a1 a2", "ack a", "task b c", "out b c", "ack b c"},
	}, {
		name: "the tail begins with pieces", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) { b.SplitRecord(0, pieces("a1 a2 a3")); b.Retry(1, 4) }},
		want:   []string{"out a1", "task a2 a3 b", "out a2 a3 b", "ack a b"},
	}, {
		name: "a nacked piece takes its siblings out of the tail", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) {
			b.SplitRecord(0, pieces("a1 a2 a3"))
			b.Filter(2)
			b.Retry(1, 3)
			b.Nack(0, boom("x")...)
		}},
		want: []string{"dlq a:x", "ack a", "task b", "out b", "ack b"},
	}, {
		name: "a nacked piece takes all that is left of the tail", batch: "a",
		rounds: []marks{func(b *funnel.Batch) {
			b.SplitRecord(0, pieces("a1 a2 a3"))
			b.Retry(1, 3)
			b.Nack(0, boom("x")...)
		}},
		want: []string{"dlq a:x", "ack a"},
	}, {
		name: "a nacked piece leaves a filtered tail", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) {
			b.Filter(1)
			b.SplitRecord(0, pieces("a1 a2"))
			b.Retry(1, 2)
			b.Nack(0, boom("x")...)
		}},
		want: []string{"dlq a:x", "ack a", "ack b"},
	}, {
		name: "pieces have the marks of their own round", batch: "a b",
		rounds: []marks{
			func(b *funnel.Batch) { b.SplitRecord(1, pieces("b1 b2 b3")); b.Retry(2) },
			func(b *funnel.Batch) { b.Nack(0, boom("x")...) }, // the others are past the task already
		},
		want: []string{"out a b1", "ack a", "task b2", "out b3", "dlq b:x", "ack b"},
	}, {
		name: "the siblings get the error of the first nacked piece", batch: "a",
		rounds: []marks{func(b *funnel.Batch) {
			b.SplitRecord(0, pieces("a1 a2 a3"))
			b.Nack(2, boom("z")...)
			b.Nack(1, boom("y")...)
		}},
		want: []string{"dlq a:y", "ack a"},
	}, {
		name: "a split of a split", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) {
			b.SplitRecord(0, pieces("a1 a2"))
			b.SplitRecord(1, pieces("a21 a22"))
			b.SplitRecord(0, pieces("a11 a12"))
			b.Nack(3, boom("x")...)
		}},
		want: []string{"dlq a:x", "ack a", "out b", "ack b"},
	}, {
		name: "the original is what the record was when it was split", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) {
			b.SetRecords(0, pieces("A"))
			b.SplitRecord(0, pieces("a1 a2"))
			b.SetRecords(0, pieces("A1"))
			b.Nack(1, boom("x")...)
		}},
		want: []string{"dlq A:x", "ack a", "out b", "ack b"},
	}, {
		name: "a nacked record is what the task made of it", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) {
			b.Nack(0, boom("x")...)
			b.SetRecords(0, pieces("A B"))
		}},
		want: []string{"dlq A:x", "ack a", "out B", "ack b"},
	}, {
		name: "records keep their status when they are replaced", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) {
			b.Retry(1, 3)
			b.SetRecords(0, pieces("A B C"))
			b.SplitRecord(2, pieces("CC"))
		}},
		want: []string{"out A", "ack a", "task B CC", "out B CC", "ack b c"},
	}, {
		name: "a split into none is a filter", batch: "a b c",
		rounds: []marks{func(b *funnel.Batch) { b.SplitRecord(1, nil); b.SplitRecord(1, []opencdc.Record{}) }},
		want:   []string{"out a", "ack a b c"},
	}, {
		name: "a split into one is no split", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) { b.SplitRecord(0, pieces("A")); b.Nack(0, boom("x")...) }},
		want:   []string{"dlq A:x", "ack a", "out b", "ack b"},
	}, {
		name: "pieces that are all filtered", batch: "a b",
		rounds: []marks{func(b *funnel.Batch) { b.SplitRecord(0, pieces("a1 a2")); b.Filter(0, 2) }},
		want:   []string{"out b", "ack a b"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			fake.WantLines(t, outcome(t, c.batch, c.rounds...), append([]string{"task " + c.batch}, c.want...)...)
		})
	}
}

// Filtering a record is an answer, even if others are split and as many records as
// before are left to be retried.
func TestBatch_filteringIsAnAnswer(t *testing.T) {
	rounds := slices.Repeat([]marks{func(b *funnel.Batch) {
		b.Filter(0)
		b.SplitRecord(5, pieces("x y"))
		b.Retry(0, 7)
	}}, 6)
	fake.WantLines(t, outcome(t, "a b c d e f g", rounds...),
		"task a b c d e f g", "ack a",
		"task b c d e f x y", "ack b",
		"task c d e f x x y", "ack c",
		"task d e f x x x y", "ack d",
		"task e f x x x x y", "ack e",
		"task f x x x x x y", "ack f",
		"task x x x x x x y",
		"out x x x x x x y", "ack g")
}

// What a task does to a record has the same effect whatever it did to others before:
// this tries every combination for four records, in several orders.
func TestBatch_marksInAnyOrder(t *testing.T) {
	const actions = "anfrsx" // ack, nack, filter, retry, split, replace
	names := []string{"a", "b", "c", "d"}
	orders := [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}}
	rnd := rand.New(rand.NewPCG(9, 10))
	for combination := range 6 * 6 * 6 * 6 {
		plan := make([]byte, len(names))
		for i := range plan {
			plan[i] = actions[combination%6]
			combination /= 6
		}
		want := expectedOutcome(names, string(plan))
		for _, order := range append(orders[:2:2], rnd.Perm(4), rnd.Perm(4)) {
			got := outcome(t, "a b c d", func(b *funnel.Batch) { markInOrder(b, names, string(plan), order) })
			if !slices.Equal(got, want) {
				t.Fatalf("plan %s in order %v, got:\n  %s\nwant:\n  %s",
					plan, order, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		}
	}
}

// markInOrder carries out a plan, which has an action per record, in the given order.
func markInOrder(b *funnel.Batch, names []string, plan string, order []int) {
	active := slices.Clone(names) // what the indices point into
	for _, i := range order {
		name := names[i]
		at := slices.Index(active, name)
		switch plan[i] {
		case 'a':
			b.Ack(at)
		case 'n':
			b.Nack(at, errors.New(name))
		case 'f':
			b.Filter(at)
			active = slices.Delete(active, at, at+1)
		case 'r':
			if at == len(active)-1 {
				b.Retry(at, at+1) // with an end index: the last records are kept in another way
			} else {
				b.Retry(at)
			}
		case 's':
			b.SplitRecord(at, fake.Records(name+"1", name+"2"))
			active = slices.Replace(active, at, at+1, name+"1", name+"2")
		case 'x':
			b.SetRecords(at, fake.Records(name+"x"))
		}
	}
}

// expectedOutcome returns the outcome of a plan.
func expectedOutcome(names []string, plan string) []string {
	lines := []string{"task " + strings.Join(names, " ")}
	kind := func(i int) byte {
		if strings.IndexByte("nr", plan[i]) < 0 {
			return 'a' // goes on
		}
		return plan[i]
	}
	for from, to := 0, 0; from < len(plan); from = to {
		task, out, dlq, ack := "task", "out", "dlq", "ack"
		for ; to < len(plan) && kind(to) == kind(from); to++ {
			name := names[to]
			ack += " " + name
			switch plan[to] {
			case 'n':
				dlq += " " + name + ":" + name
			case 'r':
				task += " " + name
				out += " " + name
			case 's':
				out += " " + name + "1 " + name + "2"
			case 'x':
				out += " " + name + "x"
			case 'a':
				out += " " + name
			}
		}
		for _, line := range []string{task, out, dlq} {
			if strings.Contains(line, " ") {
				lines = append(lines, line)
			}
		}
		lines = append(lines, ack)
	}
	return lines
}

// The original of a split record is found whatever positions its pieces and other
// records have.
func TestBatch_originalWhateverThePosition(t *testing.T) {
	j := &fake.Journal{}
	same := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Position = opencdc.Position("same")
		return sdk.SingleRecord(rec)
	})
	splits := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		pieces := make(sdk.MultiRecord, 3)
		for i := range pieces {
			pieces[i] = rec.Clone()
			pieces[i].Metadata["id"] += fmt.Sprint(i + 1)
			pieces[i].Position = opencdc.Position("2") // the position of a source record
		}
		return pieces
	})
	fails := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		if id := rec.Metadata["id"]; id == "12" || id == "33" {
			return sdk.ErrorRecord{Error: fake.ErrOf(id)}
		}
		rec.Position = opencdc.Position("3")
		return sdk.SingleRecord(rec)
	})
	dlq := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dlq), fake.From(fake.SourceOf(j, "1 2 3")),
		fake.Through("same", same), fake.Through("splits", splits), fake.Through("fails", fails), fake.Out(j)))
	j.Want(t, "out dlq ack",
		"dlq same", "ack 1", "out 3 3 3", "ack 2", "dlq same", "ack 3")
	for i, want := range []string{"1", "3"} {
		failed := dlq.Written[i].Payload.After.(opencdc.StructuredData)
		if got := failed["metadata"].(map[string]any)["id"]; got != want {
			t.Errorf("record %v is in the dead-letter queue, want %s", got, want)
		}
		text, err := dlq.Written[i].Metadata.GetConduitDLQNackError()
		fake.WantNoError(t, err)
		if want := fake.ErrOf(want + []string{"2", "3"}[i]).Error(); text != want {
			t.Errorf("the error is %q, want %q", text, want)
		}
	}
}

// A task that reads backward may leave its last records to be retried, edit where it
// has been, and read on.
func TestBatch_readBackwardBeforeRetries(t *testing.T) {
	b := funnel.NewBatch(fake.Numbered(10))
	read := b.ActiveRecords()
	b.Retry(9, 10)
	b.Filter(4)
	b.Ack(8)
	if got, want := fake.Positions(read[:4]), fake.Positions(fake.Numbered(4)); !slices.Equal(got, want) {
		t.Errorf("the task reads %v, want %v", got, want)
	}
}
