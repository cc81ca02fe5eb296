package funnel_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// wantActive fails the test unless the active records have these positions.
func wantActive(t *testing.T, b *funnel.Batch, want string) {
	t.Helper()
	if got := strings.Join(fake.Positions(b.ActiveRecords()), " "); got != want {
		t.Errorf("the active records are %q, want %q", got, want)
	}
	if got := b.HasActiveRecords(); got != (want != "") {
		t.Errorf("HasActiveRecords is %t, the active records are %q", got, want)
	}
}

// ActiveRecords returns the records that are not filtered, after what was set and
// split.
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

// Status returns the status of the active record at the index, whatever was
// filtered, split or marked before.
func TestBatch_Status(t *testing.T) {
	b := funnel.NewBatch(fake.Records("1", "2", "3", "4", "5", "6"))
	want := func(flags ...funnel.RecordFlag) {
		t.Helper()
		var got []funnel.RecordFlag
		for i := range b.ActiveRecords() {
			s := b.Status(i)
			got = append(got, s.Flag)
			if (s.Error != nil) != (s.Flag == funnel.RecordFlagNack) {
				t.Errorf("record %d is marked as %s, with the error %v", i, s.Flag, s.Error)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(flags) {
			t.Errorf("the flags are %v, want %v", got, flags)
		}
	}
	const ack, nack, retry = funnel.RecordFlagAck, funnel.RecordFlagNack, funnel.RecordFlagRetry
	want(ack, ack, ack, ack, ack, ack)
	b.Nack(1, fake.ErrOf("2"))
	if s := b.Status(1); s.Flag != nack || s.Error.Error() != fake.ErrOf("2").Error() {
		t.Errorf("the status is %+v", s)
	}
	b.Filter(0)
	want(nack, ack, ack, ack, ack)
	b.Retry(3, 5)
	if s := b.Status(4); s.Flag != retry || s.Error != nil { // before ActiveRecords is called
		t.Errorf("the status is %+v", s)
	}
	want(nack, ack, ack, retry, retry)
	b.Ack(0)
	want(ack, ack, ack, retry, retry)
	for _, i := range []int{-1, 5} {
		if got, ok := fake.PanicOf(func() { b.Status(i) }).(string); !ok || !strings.Contains(got, fmt.Sprint(i)) || !strings.Contains(got, "5") {
			t.Errorf("index %d: panicked with %q", i, got)
		}
	}
}

// A batch without active records has no index to mark.
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

// batchStates bring a batch into different forms of bookkeeping. Five records are
// active afterwards.
var batchStates = map[string]marks{
	"fresh":              func(*funnel.Batch) {},
	"marked":             func(b *funnel.Batch) { b.Nack(2, fake.ErrTest) },
	"tail to be retried": func(b *funnel.Batch) { b.Retry(3, 5) },
	"all to be retried":  func(b *funnel.Batch) { b.Retry(0, 5) },
	"filtered and split": func(b *funnel.Batch) { b.SplitRecord(4, pieces("e1 e2 e3")); b.Filter(3); b.Filter(0) },
	"split in the front": func(b *funnel.Batch) { b.SplitRecord(0, pieces("a1 a2")); b.Filter(5) },
	"filtered tail":      func(b *funnel.Batch) { b.SplitRecord(1, pieces("b1 b2")); b.Filter(5); b.Retry(2, 5) },
}

// A method panics if an index is wrong, with index and length in the text, and leaves
// the batch as it was.
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

// mustPanic fails the test if the function does not panic with a text that has the
// words.
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

// Empty ranges are allowed, even at the end, and change nothing.
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

// A batch in which nothing was marked, filtered or split keeps the slice that it was
// made from: nothing is copied.
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

// A batch never writes to the memory beyond the slice that it was made from.
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

// A batch neither keeps nor changes the slices that its methods are given.
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

// Two consecutive tasks may split every record. One asks for the active records after
// each split, the other one only once. No record is lost or seen twice.
func TestBatch_twoTasksSplit(t *testing.T) {
	for _, backward := range []bool{false, true} {
		j := &fake.Journal{}
		first := fake.Custom("first", func(_ context.Context, b *funnel.Batch) error {
			recs := b.ActiveRecords()
			for k := range recs {
				i, at := k, 2*k
				if backward {
					i = len(recs) - 1 - k
					at = i
				}
				b.SplitRecord(at, fake.Pieces(recs[i], 2))
				b.ActiveRecords()
			}
			return nil
		})
		var seen []string
		second := fake.Custom("second", func(_ context.Context, b *funnel.Batch) error {
			at := 0
			for _, rec := range b.ActiveRecords() {
				seen = append(seen, string(rec.Position))
				b.SplitRecord(at, fake.Pieces(rec, 2))
				at += 2
			}
			return nil
		})
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), first, second, fake.Out(j)))
		if got, want := strings.Join(seen, " "), "1a 1b 2a 2b 3a 3b"; got != want {
			t.Errorf("backward %t: the second task saw %s, want %s", backward, got, want)
		}
		j.Want(t, "out ack", "out 1aa 1ab 1ba 1bb 2aa 2ab 2ba 2bb 3aa 3ab 3ba 3bb", "ack 1 2 3")
	}
}

// If a task goes through the active records in either direction and edits the batch
// where it has been, it reads each record once, whatever other tasks did before, and
// however often it asks for the records again.
func TestBatch_readWhileEdited(t *testing.T) {
	runs := 5_000
	if testing.Short() {
		runs = 500
	}
	for seed := range runs {
		rnd := rand.New(rand.NewPCG(uint64(seed), 6))
		backward, asks, looks := rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0
		// edit does something to a record, and returns how many records replace it.
		edit := func(b *funnel.Batch, i int) int {
			rec := b.ActiveRecords()[i]
			switch rnd.IntN(5) {
			case 0:
				b.Filter(i)
				return 0
			case 1:
				n := 2 + rnd.IntN(2)
				b.SplitRecord(i, fake.Pieces(rec, n))
				return n
			case 2:
				b.SetRecords(i, []opencdc.Record{rec})
			}
			if looks { // at another record, or marks it
				switch k := rnd.IntN(len(b.ActiveRecords())); rnd.IntN(4) {
				case 0:
					b.Status(k)
				case 1:
					b.Nack(k, fake.ErrTest)
					b.Ack(k)
				case 2:
					b.Retry(k, len(b.ActiveRecords()))
					b.Ack(0, len(b.ActiveRecords()))
				}
			}
			return 1
		}
		history := func(_ context.Context, b *funnel.Batch) error {
			for range rnd.IntN(12) {
				if n := len(b.ActiveRecords()); n > 0 {
					edit(b, rnd.IntN(n))
				}
			}
			return nil
		}
		var want, got []string
		pass := func(_ context.Context, b *funnel.Batch) error {
			recs := b.ActiveRecords()
			want = fake.Positions(recs)
			at := 0
			for k := range recs {
				i := k
				if backward {
					i = len(recs) - 1 - k
					at = i
				}
				got = append(got, string(recs[i].Position))
				if rnd.IntN(3) > 0 {
					if !asks {
						b.SplitRecord(at, fake.Pieces(recs[i], 2))
						at += 2
						continue
					}
					at += edit(b, at)
					continue
				}
				at++
			}
			if backward {
				slices.Reverse(got)
			}
			return nil
		}
		j := &fake.Journal{}
		err := fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Custom("history", history), fake.Custom("more", history), fake.Custom("pass", pass), fake.Out(j))
		fake.WantNoError(t, err)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, backward %t, asks %t: the pass has read %v, there were %v", seed, backward, asks, got, want)
		}
		j.Want(t, "ack", "ack 1 2 3 4 5")
	}
}

// If a task looks at a record ahead, or marks it, no record that is still to be read
// moves.
func TestBatch_lookAhead(t *testing.T) {
	looks := map[string]func(b *funnel.Batch, i int){
		"Status": func(b *funnel.Batch, i int) { b.Status(i) },
		"Nack":   func(b *funnel.Batch, i int) { b.Nack(i, fake.ErrTest); b.Ack(i) },
		"Retry":  func(b *funnel.Batch, i int) { b.Retry(i); b.Ack(i) },
		"rest":   func(b *funnel.Batch, i int) { b.Retry(3, 4); b.Ack(3) },
	}
	for name, look := range looks {
		for _, backward := range []bool{false, true} {
			var seen []string
			task := fake.Custom("task", func(_ context.Context, b *funnel.Batch) error {
				recs := b.ActiveRecords()
				for k := range recs {
					i, ahead := k, 2
					if backward {
						i, ahead = len(recs)-1-k, 0
					}
					seen = append(seen, string(recs[i].Position))
					if k == 0 {
						b.Filter(i)
						look(b, ahead)
					}
				}
				return nil
			})
			j := &fake.Journal{}
			fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3 4 5")), task, fake.Out(j)))
			want := []string{"1", "2", "3", "4", "5"}
			if backward {
				slices.Reverse(want)
			}
			if !slices.Equal(seen, want) {
				t.Errorf("%s, backward %t: the task has read %v", name, backward, seen)
			}
		}
	}
}

// A task may split, filter and mark records while it goes through them from either
// end.
func TestBatch_editedOnTheWay(t *testing.T) {
	edit := func(b *funnel.Batch, i int, rec opencdc.Record) (n int) {
		switch rec.Position[0] {
		case '1', '4':
			b.SplitRecord(i, fake.Pieces(rec, 3))
			return 3
		case '2':
			b.Filter(i)
			return 0
		case '5':
			b.Nack(i, fake.ErrOf("5"))
		}
		return 1
	}
	for name, task := range map[string]func(b *funnel.Batch){
		"backward": func(b *funnel.Batch) {
			recs := b.ActiveRecords()
			for i := len(recs) - 1; i >= 0; i-- {
				edit(b, i, recs[i])
			}
		},
		"forward": func(b *funnel.Batch) {
			at := 0
			for _, rec := range b.ActiveRecords() {
				at += edit(b, at, rec)
			}
		},
		"looking again each time": func(b *funnel.Batch) {
			for at := 0; at < len(b.ActiveRecords()); {
				at += edit(b, at, b.ActiveRecords()[at])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := &fake.Journal{}
			custom := fake.Custom("custom", func(_ context.Context, b *funnel.Batch) error { task(b); return nil })
			fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3 4 5 6 7")), custom, fake.Out(j)))
			j.Want(t, "out dlq ack", "out 1a 1b 1c 3 4a 4b 4c", "ack 1 2 3 4", "dlq 5", "ack 5", "out 6 7", "ack 6 7")
		})
	}
}
