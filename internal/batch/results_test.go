package batch

import (
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

func TestResults_count(t *testing.T) {
	for _, test := range []struct {
		results string
		want    Results // without All
		all     int
	}{
		{"", Results{}, 0},
		{"s", Results{Answers: 1}, 1},
		{"-", Results{}, 0},
		{"-s--", Results{Answers: 1}, 2},
		{"sfnf", Results{Answers: 4, filters: 2, nacks: 1}, 4},
		{"0s", Results{Answers: 2, filters: 1}, 2},
		{"1-", Results{Answers: 1, isMulti: true}, 1},
		{"23s0-2-", Results{Answers: 5, filters: 1, splits: 3, added: 4, isMulti: true}, 6},
	} {
		results := op{results: test.results, number: 10}.sdkResults(records(0, 10))
		got := Results{nacks: 9, isMulti: true} // is overwritten
		got.Count(results)
		if len(got.All) != test.all || test.all > 0 && &got.All[0] != &results[0] {
			t.Errorf("%s: all are %v, want the first %d", test.results, got.All, test.all)
		}
		all := got.All
		got.All = nil
		test.want.Unknown = -1
		if !isEqual(got, test.want) {
			t.Errorf("%s: got %+v of %d, want %+v", test.results, got, len(all), test.want)
		}
	}
}

// isEqual compares results without All.
func isEqual(a, b Results) bool {
	return a.Answers == b.Answers && a.Unknown == b.Unknown && a.nacks == b.nacks &&
		a.filters == b.filters && a.splits == b.splits && a.added == b.added && a.isMulti == b.isMulti
}

// unknown is a result of a kind that the SDK does not define.
type unknown struct{ sdk.ProcessedRecord }

func TestResults_unknown(t *testing.T) {
	for want, results := range [][]sdk.ProcessedRecord{
		{unknown{}, unknown{}},
		{sdk.SingleRecord{}, &sdk.SingleRecord{}},
		{nil, sdk.FilterRecord{}, unknown{sdk.FilterRecord{}}, nil},
	} {
		var r Results
		r.Count(results)
		if r.Unknown != want {
			t.Errorf("result %d is unknown, want %d", r.Unknown, want)
		}
	}
}

// Results that only replace records need no states. Results that filter or split need
// only a number per record, in memory from the pool.
func TestCopies_applyCosts(t *testing.T) {
	for _, test := range []struct {
		pattern   string // repeated
		isUnmoved bool
	}{
		{"S", true}, {"Sf", true}, {"Sf2", false}, {"1", false}, {"0S", true},
	} {
		in := strings.Repeat(test.pattern, 60/len(test.pattern))
		pool := &Pool{}
		c := newCopies(len(in), pool)
		before := c.Records()
		apply(c, in)
		if c.states.Len() > 0 {
			t.Errorf("%s: there are states", test.pattern)
		}
		if isSame(before, c.Records()) != test.isUnmoved {
			t.Errorf("%s: the records stay where they are is %t", test.pattern, !test.isUnmoved)
		}
		if hasTaken := len(pool.taken) > 0; hasTaken == test.isUnmoved {
			t.Errorf("%s: took records from the pool: %t", test.pattern, hasTaken)
		}
		if (c.pieces != nil) != (len(pool.pieces.taken) == 1) || (c.pieces == nil) != (test.pattern == "S") {
			t.Errorf("%s: pieces %d", test.pattern, c.pieces)
		}
	}
}

// If there are states, results that do not split are applied in place, too.
func TestCopies_mergeCosts(t *testing.T) {
	for pattern, isUnmoved := range map[string]bool{"-Sfn": true, "sf": true, "Sn2-": false, "n1": false} {
		in := strings.Repeat(pattern, 60/len(pattern))
		pool := &Pool{}
		c := newCopies(len(in), pool)
		c.Mark(0, 1, FlagRetry)
		records, states := c.Records(), c.states.All()
		apply(c, in)
		if isSame(records, c.Records()) != isUnmoved || isSame(states, c.states.All()) != isUnmoved {
			t.Errorf("%s: the records stay where they are: %t, want %t", pattern, !isUnmoved, isUnmoved)
		}
		if taken := len(pool.states.taken); isUnmoved && taken != 1 || !isUnmoved && taken != 2 {
			t.Errorf("%s: states were taken %d times", pattern, taken)
		}
	}
}

// Once the buffers exist, filtering or passing a record allocates nothing.
func TestCopies_applyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets buffers under the race detector")
	}
	for _, pattern := range []string{"s", "sf", "s2", "f3ss", "1"} {
		allocations := func(n int) float64 {
			source, pool := &SourceBatch{}, &Pool{}
			all := slices.Repeat(records(0, 1), n)
			positions := Positions(all)
			results := op{results: strings.Repeat(pattern, n/len(pattern)), number: 10}.sdkResults(all)
			return testing.AllocsPerRun(20, func() {
				source.Reset()
				pool.PutBack()
				c := &Copies{}
				c.Attach(source, pool, "")
				c.Fill(all, positions)
				var r Results
				r.Count(results)
				c.Apply(&r)
				if c.IsAsRead() != (pattern == "s") {
					t.Fatal("as read:", c.IsAsRead())
				}
				if err := c.Settle(); err != nil {
					t.Fatal(err)
				}
			})
		}
		few, many := allocations(12), allocations(6_000)
		if many > few+1 || many > 6 {
			t.Errorf("%s: %v allocations for 12 records, %v for 6,000", pattern, few, many)
		}
	}
}

// Room for the infos of all nacks and splits is made at once.
func TestCopies_mergeMakesRoomForInfos(t *testing.T) {
	const n = 1_000
	for _, pattern := range []string{"n", "n2"} {
		c := newCopies(n, nil)
		apply(c, strings.Repeat(pattern, n/len(pattern)))
		if got := cap(c.infos.own); got != n {
			t.Errorf("%s: there is room for %d infos, want %d", pattern, got, n)
		}
	}
}

// Applying results does not change their slice, nor the slices in it: a processor may
// reuse them.
func TestCopies_resultsStayTheProcessors(t *testing.T) {
	for _, hasStates := range []bool{false, true} {
		for _, letters := range []string{"2S3", "2n3", "1fS", "o2s"} {
			c := newCopies(3, nil)
			if hasStates {
				c.Mark(0, 1, FlagRetry)
			}
			in := c.Records()
			results := op{results: letters, number: 10}.sdkResults(in)
			var before [][]opencdc.Record
			for _, result := range results {
				if multi, ok := result.(sdk.MultiRecord); ok {
					before = append(before, slices.Clone(multi))
				}
			}
			var r Results
			r.Count(results)
			c.Apply(&r)
			names := c.names()
			for _, result := range results {
				multi, ok := result.(sdk.MultiRecord)
				if !ok {
					continue
				}
				for i := range multi {
					if want := before[0][i]; nameOf(&multi[i]) != nameOf(&want) || cap(multi[i].Position) != cap(want.Position) {
						t.Errorf("%s, states %t: %s was changed to %s", letters, hasStates, nameOf(&want), nameOf(&multi[i]))
					}
				}
				clear(multi)
				before = before[1:]
			}
			if got := c.names(); !slices.Equal(got, names) {
				t.Errorf("%s, states %t: the records are %v, they were %v", letters, hasStates, got, names)
			}
		}
	}
}

// A record keeps its mark unless the answer is a different mark.
func TestCopies_applyToMarked(t *testing.T) {
	c := newCopies(6, nil)
	c.Nack(0, errNo, errNo, errNo, errNo, errNo, errNo)
	apply(c, "sf-n2")
	want := []Flag{FlagNack, FlagFilter, FlagRetry, FlagNack, FlagNack, FlagNack, FlagRetry}
	if got := flagsOf(c); !slices.Equal(got, want) {
		t.Errorf("the flags are %d, want %d", got, want)
	}
	if _, err := c.Status(2); err == errNo {
		t.Error("the nack keeps its first error")
	}
	if _, err := c.Status(3); err != errNo {
		t.Errorf("the pieces of a nacked record have the error %v", err)
	}
}

// Copies that were filtered before stay where they were.
func TestCopies_applyBesideFiltered(t *testing.T) {
	c := newCopies(6, nil)
	c.TakeOut(4, 6, FlagFilter)
	c.TakeOut(2, 3, FlagFilter)
	c.TakeOut(0, 1, FlagFilter)
	apply(c, "2n")
	want := []Flag{FlagFilter, FlagAck, FlagAck, FlagFilter, FlagNack, FlagFilter, FlagFilter}
	if got := flagsOf(c); !slices.Equal(got, want) {
		t.Errorf("the flags are %d, want %d", got, want)
	}
}
