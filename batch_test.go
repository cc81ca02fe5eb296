package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// marks is what a task does to a batch in one of its rounds.
type marks func(b *funnel.Batch)

// outcome sends one batch of records, given by their positions, through a task
// that does the marks, a function for each time that it is called, and then
// leaves the batches as they are. It returns what became of the records, a line
// for each call:
//
//	task a b     the active records that the task was given
//	out a        what was written to the destination
//	dlq a: err   what was written to the dead-letter queue
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
	fake.WantNoError(t, fake.Run(t, fake.QueueWithErrors(j), fake.From(fake.SourceOf(j, positions)), fake.Custom("marks", task), fake.To(fake.NewDestination(j, "out"))))
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

// pieces returns records with these positions.
func pieces(positions string) []opencdc.Record { return fake.Records(strings.Fields(positions)...) }

func wantActive(t *testing.T, b *funnel.Batch, want string) {
	t.Helper()
	if got := strings.Join(fake.Positions(b.ActiveRecords()), " "); got != want {
		t.Errorf("the active records are %q, want %q", got, want)
	}
	if got := b.HasActiveRecords(); got != (want != "") {
		t.Errorf("HasActiveRecords is %t, the active records are %q", got, want)
	}
}

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
			func(b *funnel.Batch) { b.Nack(0, boom("x")...) }, // the others have gone on
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

// A round in which a record was filtered is a round with an answer, also if
// others were split and there are as many left to be retried as before.
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

// What a task does to a record is the same whatever it did to others before.
// Every combination of that for four records is done in several orders.
func TestBatch_marksInAnyOrder(t *testing.T) {
	const actions = "anfrsx" // ack, nack, filter, retry, split, exchange
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

// markInOrder carries out a plan, the action for each record.
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
				b.Retry(at, at+1) // of the tail
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

// A processor's results lie at the indices of the records that it was given,
// however many of them are filtered and split on the way, and however many were
// before.
func TestProcessorTask_resultsWhileIndicesShift(t *testing.T) {
	j := &fake.Journal{}
	before := fake.Custom("before", func(_ context.Context, b *funnel.Batch) error {
		for _, i := range []int{9, 5, 2, 1, 0} { // a b c f j
			b.Filter(i)
		}
		b.SplitRecord(4, pieces("i1 i2 i3"))
		return nil
	})
	plan := map[string]sdk.ProcessedRecord{
		"d":  sdk.FilterRecord{},
		"e":  sdk.MultiRecord(pieces("e1 e2 e3")),
		"g":  sdk.FilterRecord{},
		"h":  sdk.SingleRecord(pieces("H")[0]),
		"i1": sdk.MultiRecord{},
		"i2": sdk.MultiRecord(pieces("I2")),
		"i3": sdk.MultiRecord(pieces("i31 i32")),
		"k":  sdk.ErrorRecord{Error: fake.ErrTest},
		"l":  sdk.SingleRecord(pieces("L")[0]),
	}
	process := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		j.Add("process", string(rec.Position))
		return plan[string(rec.Position)]
	})
	fake.WantNoError(t, fake.Run(t, fake.QueueWithErrors(j), fake.From(fake.SourceOf(j, "a b c d e f g h i j k l")),
		before, fake.Through("p", process), fake.To(fake.NewDestination(j, "out"))))
	j.Want(t, "process out dlq ack",
		"process d", "process e", "process g", "process h", "process i1", "process i2", "process i3",
		"process k", "process l",
		"out e1 e2 e3 H I2 i31 i32", "ack a b c d e f g h i j", "dlq k:test error", "ack k", "out L", "ack l")
}

// What a split record was before is known whatever positions its pieces, or
// other records, have by then.
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
			pieces[i].Position = opencdc.Position("2") // that of a source record
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
		fake.Through("same", same), fake.Through("splits", splits), fake.Through("fails", fails), fake.To(fake.NewDestination(j, "out"))))
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

// batchStates are batches in which the same call meets different insides. Each has
// five active records.
var batchStates = map[string]marks{
	"fresh":              func(*funnel.Batch) {},
	"marked":             func(b *funnel.Batch) { b.Nack(2, fake.ErrTest) },
	"tail to be retried": func(b *funnel.Batch) { b.Retry(3, 5) },
	"all to be retried":  func(b *funnel.Batch) { b.Retry(0, 5) },
	"filtered and split": func(b *funnel.Batch) { b.SplitRecord(4, pieces("e1 e2 e3")); b.Filter(3); b.Filter(0) },
	"split in the front": func(b *funnel.Batch) { b.SplitRecord(0, pieces("a1 a2")); b.Filter(5) },
	"filtered tail":      func(b *funnel.Batch) { b.SplitRecord(1, pieces("b1 b2")); b.Filter(5); b.Retry(2, 5) },
}

// A wrong index panics, says what is wrong, and leaves the batch as it was.
func TestBatch_outOfBounds(t *testing.T) {
	calls := map[string]struct {
		call  marks
		words []string // in the message
	}{
		"Ack(-1)":         {func(b *funnel.Batch) { b.Ack(-1) }, []string{"Batch.Ack", "-1", "length 5"}},
		"Ack(5)":          {func(b *funnel.Batch) { b.Ack(5) }, []string{"Batch.Ack", "index 5", "length 5"}},
		"Ack(max)":        {func(b *funnel.Batch) { b.Ack(math.MaxInt) }, []string{fmt.Sprint(math.MaxInt), "length 5"}},
		"Ack(4,6)":        {func(b *funnel.Batch) { b.Ack(4, 6) }, []string{"4", "6", "length 5"}},
		"Ack(3,2)":        {func(b *funnel.Batch) { b.Ack(3, 2) }, []string{"3", "2", "length 5"}},
		"Ack(6,6)":        {func(b *funnel.Batch) { b.Ack(6, 6) }, []string{"6", "length 5"}},
		"Ack(-1,2)":       {func(b *funnel.Batch) { b.Ack(-1, 2) }, []string{"-1", "2", "length 5"}},
		"Ack(1,2,3)":      {func(b *funnel.Batch) { b.Ack(1, 2, 3) }, []string{"Batch.Ack", "2 end indices", "index 1", "length 5"}},
		"Filter(-1)":      {func(b *funnel.Batch) { b.Filter(-1) }, []string{"Batch.Filter", "-1", "length 5"}},
		"Filter(5)":       {func(b *funnel.Batch) { b.Filter(5) }, []string{"Batch.Filter", "index 5", "length 5"}},
		"Filter(0,6)":     {func(b *funnel.Batch) { b.Filter(0, 6) }, []string{"0", "6", "length 5"}},
		"Filter(3,1)":     {func(b *funnel.Batch) { b.Filter(3, 1) }, []string{"3", "1", "length 5"}},
		"Filter(0,1,1)":   {func(b *funnel.Batch) { b.Filter(0, 1, 1) }, []string{"2 end indices", "index 0", "length 5"}},
		"Retry(-1)":       {func(b *funnel.Batch) { b.Retry(-1) }, []string{"Batch.Retry", "-1", "length 5"}},
		"Retry(5)":        {func(b *funnel.Batch) { b.Retry(5) }, []string{"Batch.Retry", "index 5", "length 5"}},
		"Retry(2,6)":      {func(b *funnel.Batch) { b.Retry(2, 6) }, []string{"2", "6", "length 5"}},
		"Retry(-1,5)":     {func(b *funnel.Batch) { b.Retry(-1, 5) }, []string{"-1", "5", "length 5"}},
		"Retry(0,5,5,5)":  {func(b *funnel.Batch) { b.Retry(0, 5, 5, 5) }, []string{"3 end indices", "index 0", "length 5"}},
		"Nack(-1)":        {func(b *funnel.Batch) { b.Nack(-1) }, []string{"Batch.Nack", "-1", "length 5"}},
		"Nack(5)":         {func(b *funnel.Batch) { b.Nack(5, fake.ErrTest) }, []string{"Batch.Nack", "index 5", "length 5"}},
		"Nack(4,2 errs)":  {func(b *funnel.Batch) { b.Nack(4, boom("x", "y")...) }, []string{"4", "6", "length 5"}},
		"SetRecords(-1)":  {func(b *funnel.Batch) { b.SetRecords(-1, pieces("x")) }, []string{"Batch.SetRecords", "-1", "length 5"}},
		"SetRecords(5)":   {func(b *funnel.Batch) { b.SetRecords(5, pieces("x")) }, []string{"Batch.SetRecords", "5", "length 5"}},
		"SetRecords(4,2)": {func(b *funnel.Batch) { b.SetRecords(4, pieces("x y")) }, []string{"4", "6", "length 5"}},
		"SetRecords(6,0)": {func(b *funnel.Batch) { b.SetRecords(6, nil) }, []string{"6", "length 5"}},
		"SplitRecord(-1)": {func(b *funnel.Batch) { b.SplitRecord(-1, pieces("x y")) }, []string{"Batch.SplitRecord", "-1", "length 5"}},
		"SplitRecord(5)":  {func(b *funnel.Batch) { b.SplitRecord(5, pieces("x y")) }, []string{"Batch.SplitRecord", "index 5", "length 5"}},
		"SplitRecord(5,0)": {
			func(b *funnel.Batch) { b.SplitRecord(5, nil) }, []string{"Batch.SplitRecord", "index 5", "length 5"},
		},
	}
	for state, prepare := range batchStates {
		undisturbed := outcome(t, "a b c d e", prepare)
		for name, c := range calls {
			t.Run(state+"/"+name, func(t *testing.T) {
				got := outcome(t, "a b c d e", func(b *funnel.Batch) {
					prepare(b)
					mustPanic(t, func() { c.call(b) }, c.words...)
				})
				fake.WantLines(t, got, undisturbed...)

				b := funnel.NewBatch(pieces("a b c d e"))
				prepare(b)
				active := slices.Clone(b.ActiveRecords())
				mustPanic(t, func() { c.call(b) }, c.words...)
				wantActive(t, b, strings.Join(fake.Positions(active), " "))
			})
		}
	}
}

// mustPanic fails the test if f does not panic with a text that has the words.
func mustPanic(t *testing.T, f func(), words ...string) {
	t.Helper()
	defer func() {
		t.Helper()
		text, ok := recover().(string)
		if !ok {
			t.Error("there is no panic with a text")
			return
		}
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("the panic %q does not say %q", text, word)
			}
		}
	}()
	f()
}

// The end of the batch is a place as well: ranges without records are allowed
// there and mark nothing.
func TestBatch_emptyRanges(t *testing.T) {
	for state, prepare := range batchStates {
		t.Run(state, func(t *testing.T) {
			undisturbed := outcome(t, "a b c d e", prepare)
			got := outcome(t, "a b c d e", func(b *funnel.Batch) {
				prepare(b)
				for i := range 6 {
					b.Ack(i, i)
					b.Filter(i, i)
					b.Retry(i, i)
					b.SetRecords(i, nil)
				}
			})
			fake.WantLines(t, got, undisturbed...)
		})
	}
}

func TestBatch_empty(t *testing.T) {
	for name, b := range map[string]*funnel.Batch{
		"zero":     {},
		"nil":      funnel.NewBatch(nil),
		"empty":    funnel.NewBatch([]opencdc.Record{}),
		"filtered": funnel.NewBatch(pieces("a b")),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "filtered" {
				b.Filter(0, 2)
			}
			wantActive(t, b, "")
			b.Ack(0, 0)
			b.Filter(0, 0)
			b.Retry(0, 0)
			b.SetRecords(0, nil)
			for _, call := range []marks{
				func(b *funnel.Batch) { b.Ack(0) },
				func(b *funnel.Batch) { b.Filter(0) },
				func(b *funnel.Batch) { b.Nack(0) },
				func(b *funnel.Batch) { b.Retry(0, 1) },
				func(b *funnel.Batch) { b.SetRecords(0, pieces("x")) },
				func(b *funnel.Batch) { b.SplitRecord(0, pieces("x y")) },
			} {
				mustPanic(t, func() { call(b) }, "0", "length 0")
			}
			wantActive(t, b, "")
		})
	}
}

func TestBatch_ActiveRecords(t *testing.T) {
	b := funnel.NewBatch(pieces("a b c d e f"))
	wantActive(t, b, "a b c d e f")
	b.Filter(5)
	b.Filter(0)
	wantActive(t, b, "b c d e")
	b.SplitRecord(1, pieces("c1 c2"))
	wantActive(t, b, "b c1 c2 d e")
	b.Filter(1)
	wantActive(t, b, "b c2 d e")
	b.SplitRecord(3, pieces("e1 e2 e3"))
	b.SplitRecord(0, pieces("b1 b2"))
	wantActive(t, b, "b1 b2 c2 d e1 e2 e3")
	b.Nack(0)
	b.Retry(3, 7)
	wantActive(t, b, "b1 b2 c2 d e1 e2 e3")
	b.Filter(4, 6)
	b.SetRecords(1, pieces("B2 C2 D E3"))
	wantActive(t, b, "b1 B2 C2 D E3")
	b.SplitRecord(1, nil)
	b.SplitRecord(1, pieces("CC2"))
	wantActive(t, b, "b1 CC2 D E3")
	b.Filter(0, 4)
	wantActive(t, b, "")
}

// A batch that nothing was marked in, filtered or split holds the slice that it
// was made of, so that nothing is copied on the way.
func TestBatch_isTheSlice(t *testing.T) {
	recs := pieces("a b c")
	b := funnel.NewBatch(recs)
	b.Ack(0, 3)
	if got := b.ActiveRecords(); &got[0] != &recs[0] || len(got) != 3 {
		t.Error("the records were copied")
	}
	b.SetRecords(1, pieces("B"))
	if string(recs[1].Position) != "B" {
		t.Error("the slice was left")
	}
}

// The memory behind the records of a batch belongs to others.
func TestBatch_beyondTheSlice(t *testing.T) {
	memory := pieces("a b x y z")
	b := funnel.NewBatch(memory[:2])
	b.SplitRecord(0, pieces("a1 a2 a3"))
	b.Filter(3)
	b.Retry(1, 3)
	wantActive(t, b, "a1 a2 a3")
	_ = append(b.ActiveRecords(), pieces("u v w")...)
	if got := strings.Join(fake.Positions(memory[2:]), " "); got != "x y z" {
		t.Errorf("the memory behind the records holds %q", got)
	}
}

// The slices that a batch is given stay the caller's: the batch neither keeps
// nor changes them.
func TestBatch_leavesSlicesToTheCaller(t *testing.T) {
	three, two, one, single := pieces("x1 x2 x3"), pieces("y1 y2"), pieces("w"), pieces("z")
	b := funnel.NewBatch(pieces("a b c d e"))
	b.Filter(3)
	b.SplitRecord(0, three)
	b.SetRecords(2, two)
	b.SetRecords(4, one)
	b.SplitRecord(5, single)
	for _, recs := range [][]opencdc.Record{three, two, one, single} {
		for i := range recs {
			recs[i].Position = opencdc.Position("the caller's")
		}
	}
	wantActive(t, b, "x1 x2 y1 y2 w z")

	b.Filter(0)
	b.SetRecords(0, pieces("v1 v2 v3 v4 v5"))
	b.SplitRecord(0, pieces("u1 u2 u3"))
	b.Filter(1, 3)
	clear(b.ActiveRecords())
	for _, recs := range [][]opencdc.Record{three, two, one, single} {
		for _, rec := range recs {
			if string(rec.Position) != "the caller's" {
				t.Errorf("the batch has changed a record of the caller to %q", rec.Position)
			}
		}
	}
}

// The records that are put into a batch may be those of the batch.
func TestBatch_aliases(t *testing.T) {
	for state, prepare := range map[string]marks{
		"fresh":               func(*funnel.Batch) {},
		"marked":              func(b *funnel.Batch) { b.Nack(0); b.Ack(0) },
		"filtered in front":   func(b *funnel.Batch) { b.SplitRecord(0, pieces("_ a")); b.Filter(0) },
		"filtered at the end": func(b *funnel.Batch) { b.SplitRecord(4, pieces("e _")); b.Filter(5) },
		"filtered between":    func(b *funnel.Batch) { b.SplitRecord(2, pieces("_ c _")); b.Filter(4); b.Filter(2) },
		"tail to be retried":  func(b *funnel.Batch) { b.Retry(2, 5) },
	} {
		for name, c := range map[string]struct {
			call func(b *funnel.Batch, active []opencdc.Record)
			want string
		}{
			"forward": {func(b *funnel.Batch, active []opencdc.Record) { b.SetRecords(1, active[:3]) }, "a a b c e"},
			"back":    {func(b *funnel.Batch, active []opencdc.Record) { b.SetRecords(1, active[2:]) }, "a c d e e"},
			"itself":  {func(b *funnel.Batch, active []opencdc.Record) { b.SetRecords(0, active) }, "a b c d e"},
			"one":     {func(b *funnel.Batch, active []opencdc.Record) { b.SetRecords(3, active[1:2]) }, "a b c b e"},
			"pieces":  {func(b *funnel.Batch, active []opencdc.Record) { b.SplitRecord(1, active[1:4]) }, "a b c d c d e"},
			"all":     {func(b *funnel.Batch, active []opencdc.Record) { b.SplitRecord(2, active) }, "a b a b c d e d e"},
			"last":    {func(b *funnel.Batch, active []opencdc.Record) { b.SplitRecord(4, active[3:]) }, "a b c d d e"},
			"first":   {func(b *funnel.Batch, active []opencdc.Record) { b.SplitRecord(0, active[2:4]) }, "c d b c d e"},
			"single":  {func(b *funnel.Batch, active []opencdc.Record) { b.SplitRecord(4, active[:1]) }, "a b c d a"},
		} {
			t.Run(state+"/"+name, func(t *testing.T) {
				b := funnel.NewBatch(pieces("a b c d e"))
				prepare(b)
				c.call(b, b.ActiveRecords())
				wantActive(t, b, c.want)
			})
		}
	}
}

// A batch in which a source record has no position is settled nowhere: acking it
// would wipe the source's place.
func TestBatch_emptyPosition(t *testing.T) {
	for _, settle := range map[string]func(*funnel.Worker, *funnel.Batch) error{
		"ack":  func(w *funnel.Worker, b *funnel.Batch) error { return w.Ack(t.Context(), b) },
		"nack": func(w *funnel.Worker, b *funnel.Batch) error { return w.Nack(t.Context(), b, "task") },
	} {
		j := &fake.Journal{}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.NewSource(j)), fake.To(fake.NewDestination(j, "out"))), fake.QueueWithErrors(j))
		err := settle(w, funnel.NewBatch([]opencdc.Record{{Position: opencdc.Position("a")}, {}, {Position: opencdc.Position("c")}}))
		fake.WantError(t, err, nil, "record 1", "batch of 3", "empty position")
		fake.WantFatal(t, err, true)
		j.Want(t, "")
	}
}

// inOrder are ways to mark each of many records once, in order.
var inOrder = map[string]func(b *funnel.Batch, n int){
	"nack": func(b *funnel.Batch, n int) {
		for i := range n {
			b.Nack(i, fake.ErrTest)
		}
	},
	"retry backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			b.Retry(i)
		}
	},
	"filter": func(b *funnel.Batch, n int) {
		for range n {
			b.Filter(0)
		}
	},
	"filter backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			b.Filter(i)
		}
	},
	"filter every other": func(b *funnel.Batch, n int) {
		for i := range n / 2 {
			b.Filter(i)
			b.Nack(i, fake.ErrTest)
		}
	},
	"filter every other backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 1; i -= 2 {
			b.Filter(i)
			b.Ack(i - 1)
		}
	},
	"split": func(b *funnel.Batch, n int) {
		for i := range n {
			b.SplitRecord(2*i, twoPieces)
		}
	},
	"split backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			b.SplitRecord(i, twoPieces)
		}
	},
	"mixed": func(b *funnel.Batch, n int) {
		at := 0
		for i := range n {
			switch i % 5 {
			case 0:
				b.Filter(at)
				continue
			case 1:
				b.SplitRecord(at, twoPieces)
				b.Retry(at)
				at++
			case 2:
				b.Nack(at, fake.ErrTest)
			case 3:
				b.SetRecords(at, twoPieces[:1])
			}
			at++
		}
	},
	"mixed backward": func(b *funnel.Batch, n int) {
		for i := n - 1; i >= 0; i-- {
			switch i % 5 {
			case 0:
				b.Filter(i)
			case 1:
				b.SplitRecord(i, twoPieces)
				b.Retry(i)
			case 2:
				b.Nack(i, fake.ErrTest)
			case 3:
				b.SetRecords(i, twoPieces[:1])
			}
		}
	},
	"process": func(b *funnel.Batch, _ int) {
		_ = fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			switch len(rec.Position) % 4 {
			case 0:
				return sdk.FilterRecord{}
			case 1:
				return sdk.MultiRecord(twoPieces)
			case 2:
				return sdk.ErrorRecord{Error: fake.ErrTest}
			default:
				return sdk.SingleRecord(rec)
			}
		})).Task.Do(context.Background(), b)
	},
}

var twoPieces = pieces("x y")

// manyRecords returns records whose positions have all lengths up to 8.
func manyRecords(n int) []opencdc.Record {
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i].Position = opencdc.Position("abcdefgh")[:1+i%8]
	}
	return recs
}

// Marking a batch in order allocates a few times the memory of its records,
// however many there are: a mark does not work out the active records again.
func TestBatch_memoryIsLinear(t *testing.T) {
	const n = 3_000
	for name, mark := range inOrder {
		t.Run(name, func(t *testing.T) {
			b := funnel.NewBatch(manyRecords(n))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			mark(b, n)
			runtime.ReadMemStats(&after)
			each := float64(after.TotalAlloc-before.TotalAlloc) / n / float64(unsafe.Sizeof(opencdc.Record{}))
			mallocs := float64(after.Mallocs-before.Mallocs) / n
			if each > 20 || mallocs > 5 {
				t.Errorf("a mark costs the memory of %.1f records and %.1f allocations", each, mallocs)
			}
		})
	}
}

// Marking all records from an index on to be retried costs nothing per record,
// and neither does an ack in a batch without marks.
func TestBatch_tailCostsNothing(t *testing.T) {
	const n = 10_000
	for name, mark := range map[string]marks{
		"retry from the middle": func(b *funnel.Batch) { b.Retry(n/2, n) },
		"retry all":             func(b *funnel.Batch) { b.Retry(0, n) },
		"retry the last one":    func(b *funnel.Batch) { b.Retry(n-1, n) },
		"ack":                   func(b *funnel.Batch) { b.Ack(0, n) },
		"set":                   func(b *funnel.Batch) { b.SetRecords(1, twoPieces) },
	} {
		t.Run(name, func(t *testing.T) {
			b := funnel.NewBatch(manyRecords(n))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			mark(b)
			runtime.ReadMemStats(&after)
			if cost := after.TotalAlloc - before.TotalAlloc; cost > n {
				t.Errorf("marking costs %d bytes", cost)
			}
		})
	}
}

// A mark costs about the same in a large batch as in a small one.
func BenchmarkBatch_inOrder(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(inOrder)) {
		mark := inOrder[name]
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/n=%d", strings.ReplaceAll(name, " ", "-"), n), func(b *testing.B) {
				b.ReportAllocs()
				recs := manyRecords(n)
				memory := make([]opencdc.Record, n)
				for b.Loop() {
					copy(memory, recs)
					mark(funnel.NewBatch(memory), n)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
			})
		}
	}
}
