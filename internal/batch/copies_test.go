package batch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

var errNo = errors.New("no")

// apply applies results, written like those of an op, to copies.
func apply(c *Copies, results string) {
	op{kind: opApply, results: results, number: firstEmpty}.do(c)
}

// isSame returns true if the slices begin at the same place in memory.
func isSame[T any](a, b []T) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

func TestCopies_zeroValue(t *testing.T) {
	c := &Copies{}
	if c.Source() != nil || c.Len() != 0 || !c.IsEmpty() || !c.IsUnmarked() || c.IsSettled() || c.IsShared() {
		t.Error("the zero value is not empty")
	}
	if n := c.SourceRecords(); n != 0 || len(c.Records()) != 0 {
		t.Errorf("there are %d source records, and records %v", n, c.Records())
	}
	if nacked, sources := c.NackedRecords("task"); len(nacked) != 0 || !slices.Equal(sources, []int{0}) {
		t.Errorf("nacked are %v, %v", nacked, sources)
	}
	c.RetryFrom(0)
	c.TakeOut(0, 0, FlagFilter)
	c.Mark(0, 0, FlagRetry)
	c.Set(0, nil)
	if !c.IsEmpty() || !c.IsUnmarked() {
		t.Error("marking none of no records has changed something")
	}
}

// Fill makes a source batch if there is none.
func TestCopies_fill(t *testing.T) {
	attached := &SourceBatch{}
	for _, source := range []*SourceBatch{nil, attached} {
		c, pool := &Copies{}, &Pool{}
		if source != nil {
			c.Attach(source, pool, "")
		}
		all := records(0, 3)
		positions := Positions(all)
		c.Fill(all, positions)
		s := c.Source()
		if s == nil || source != nil && s != source {
			t.Fatalf("the source batch is %p, want %p", s, source)
		}
		if source == nil && c.pool != nil || source != nil && c.pool != pool {
			t.Error("the pool is another one")
		}
		if !isSame(s.Positions, positions) || s.Ledger.Pending() != 3 || c.infos != &s.infos {
			t.Errorf("the source batch is %+v", s)
		}
		if !isSame(c.Records(), all) || !c.IsAsRead() || c.IsEmpty() {
			t.Error("the records were copied")
		}
	}
}

// Copies are as they were read until one is marked, filtered, split or settled.
func TestCopies_isAsRead(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *Copies)
		want bool
	}{
		"nothing":           {func(*Copies) {}, true},
		"look":              {func(c *Copies) { c.Records(); c.Status(1); c.SourceRecords() }, true},
		"set":               {func(c *Copies) { c.Set(0, records(10, 3)) }, true},
		"ack":               {func(c *Copies) { c.Mark(0, 3, FlagAck) }, true},
		"retry none":        {func(c *Copies) { c.RetryFrom(3) }, true},
		"replace":           {func(c *Copies) { apply(c, "SsS") }, true},
		"share":             {func(c *Copies) { c.Share() }, true},
		"filter":            {func(c *Copies) { c.TakeOut(0, 1, FlagFilter) }, false},
		"nack":              {func(c *Copies) { c.Nack(0) }, false},
		"mark":              {func(c *Copies) { c.Mark(0, 1, FlagRetry) }, false},
		"retry":             {func(c *Copies) { c.RetryFrom(2) }, false},
		"split":             {func(c *Copies) { c.Split(0, records(10, 2)) }, false},
		"filter by results": {func(c *Copies) { apply(c, "sfs") }, false},
		"filter and split":  {func(c *Copies) { apply(c, "2fs") }, false},
		"settle":            {func(c *Copies) { _ = c.Settle() }, false},
		"settle as nacked":  {func(c *Copies) { _ = c.SettleNacked("task") }, false},
	} {
		c := newCopies(3, nil)
		if test.do(c); c.IsAsRead() != test.want {
			t.Errorf("%s: as read is %t", name, !test.want)
		}
	}
	c := newCopies(3, nil)
	c.RetryFrom(1)
	_, all := divideAll(c)
	for i, part := range all {
		if part.IsAsRead() {
			t.Errorf("part %d of the records is as read", i)
		}
	}
}

// Copies are not empty if all of them are filtered or unanswered.
func TestCopies_isEmpty(t *testing.T) {
	for name, do := range map[string]func(c *Copies){
		"filtered":            func(c *Copies) { c.TakeOut(0, 2, FlagFilter) },
		"filtered by results": func(c *Copies) { apply(c, "ff") },
		"unanswered":          func(c *Copies) { c.RetryFrom(0) },
	} {
		c := newCopies(2, nil)
		if do(c); c.IsEmpty() {
			t.Errorf("%s: there are none left", name)
		}
	}
}

func TestCopies_isUnanswered(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *Copies)
		want bool
	}{
		"all retried":        {func(c *Copies) { c.RetryFrom(0) }, true},
		"all marked":         {func(c *Copies) { c.Mark(0, 3, FlagRetry) }, true},
		"one marked, others": {func(c *Copies) { c.Nack(0); c.Mark(0, 1, FlagRetry); c.RetryFrom(1) }, true},
		"nothing":            {func(*Copies) {}, false},
		"one acked":          {func(c *Copies) { c.RetryFrom(1) }, false},
		"one nacked":         {func(c *Copies) { c.Nack(0); c.RetryFrom(1) }, false},
		"one filtered":       {func(c *Copies) { c.TakeOut(2, 3, FlagFilter); c.RetryFrom(0) }, false},
	} {
		c := newCopies(4, nil)
		c.TakeOut(3, 4, FlagFilter)
		if test.do(c); c.IsUnanswered(1) != test.want {
			t.Errorf("%s: unanswered is %t", name, !test.want)
		}
	}
}

func TestCopies_nackErrors(t *testing.T) {
	c := newCopies(4, nil)
	c.Nack(1, errNo, nil)
	c.Nack(3)
	if got := slices.Collect(c.NackErrors()); !slices.Equal(got, []error{errNo, nil, nil}) {
		t.Errorf("got %v", got)
	}
	for err := range c.NackErrors() {
		if err != errNo {
			t.Errorf("got %v first", err)
		}
		break
	}
}

// A nacked record that is then marked in another way loses its error.
func TestCopies_status(t *testing.T) {
	c := newCopies(4, nil)
	c.Nack(0, errNo, errNo, errNo, errNo)
	c.Mark(0, 1, FlagAck)
	c.Mark(1, 2, FlagRetry)
	c.Nack(2, nil)
	for i, want := range []struct {
		flag Flag
		err  error
	}{{FlagAck, nil}, {FlagRetry, nil}, {FlagNack, nil}, {FlagNack, errNo}} {
		if flag, err := c.Status(i); flag != want.flag || err != want.err {
			t.Errorf("record %d: flag %d, error %v; want %d, %v", i, flag, err, want.flag, want.err)
		}
	}
}

// Without an edit, Records costs nothing. The records may be changed in place.
func TestCopies_records(t *testing.T) {
	c := newCopies(100, nil)
	first := c.Records()
	first[7] = record(70)
	c.Mark(0, 50, FlagRetry)
	if allocs := testing.AllocsPerRun(10, func() { c.Records() }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if !isSame(first, c.Records()) || c.names()[7] != "70" {
		t.Error("the records were copied")
	}
	if cap(first) != len(first) {
		t.Error("there is room behind the records")
	}
}

// The first slice that a task gets stays readable, at the cost of one copy. The next
// task has a first slice of its own.
func TestCopies_pin(t *testing.T) {
	c := newCopies(10, nil)
	for range 2 {
		c.BeginTask(false)
		first := c.Records()
		want := namesOf(first)
		c.TakeOut(0, 1, FlagFilter)
		second := c.Records()
		c.TakeOut(0, 1, FlagFilter)
		third := c.Records()
		if got := namesOf(first); !slices.Equal(got, want) || !slices.Equal(namesOf(third), want[2:]) {
			t.Errorf("what was %v is %v, and then %v", want, got, namesOf(third))
		}
		if !isSame(second[1:], third) {
			t.Error("the records were copied twice")
		}
		c.EndTask(true)
	}
}

// After a task nobody reads its slices, so nothing is copied.
func TestCopies_unpin(t *testing.T) {
	c := newCopies(10, nil)
	c.BeginTask(false)
	first := c.Records()
	c.EndTask(true)
	c.TakeOut(0, 1, FlagFilter)
	if !isSame(first[1:], c.Records()) {
		t.Error("the records were copied, and nobody reads them")
	}
}

// Positions are clipped after a task that is not trusted and has had the records.
func TestCopies_endTask(t *testing.T) {
	for _, isTrusted := range []bool{false, true} {
		for _, hasAsked := range []bool{false, true} {
			c := newCopies(2, nil)
			all := c.Records()
			c.BeginTask(false)
			if hasAsked {
				all = c.Records()
			}
			all[1].Position = append(make(opencdc.Position, 0, 8), "p1"...)
			c.EndTask(isTrusted)
			isClipped := cap(c.Records()[1].Position) == 2
			if want := hasAsked && !isTrusted; isClipped != want {
				t.Errorf("trusted %t, has asked %t: clipped is %t", isTrusted, hasAsked, isClipped)
			}
		}
	}
}

func TestCopies_share(t *testing.T) {
	c := newCopies(3, nil)
	c.Share()
	c.Nack(1)
	c.RetryFrom(2)
	wantSharedParts(t, c)
}

// readTimes returns when each record was read, or nothing if that is unknown.
func readTimes(s *SourceBatch) []time.Time {
	if len(s.ReadAt) > 0 || s.ReadTime.IsZero() {
		return s.ReadAt
	}
	return slices.Repeat([]time.Time{s.ReadTime}, len(s.Positions))
}

// The read time of a record is the one in its metadata, else the known one, else now.
func TestCopies_setReadTimes(t *testing.T) {
	now, earlier, said := time.Unix(50, 0), time.Unix(20, 0), time.Unix(30, 0)
	say := func(r *opencdc.Record, when string) { r.Metadata = opencdc.Metadata{opencdc.MetadataReadAt: when} }
	for name, test := range map[string]struct {
		do   func(c *Copies)
		want []time.Time
	}{
		"unknown": {func(*Copies) {}, []time.Time{now, now, now}},
		"known": {func(c *Copies) { c.Source().ReadAt = []time.Time{earlier, earlier, earlier} },
			[]time.Time{earlier, earlier, earlier}},
		"known of others": {func(c *Copies) { c.Source().ReadAt = []time.Time{earlier} }, []time.Time{now, now, now}},
		"said": {func(c *Copies) { say(&c.Records()[1], "30000000000") },
			[]time.Time{now, said, now}},
		"said, and known": {func(c *Copies) {
			c.Source().ReadAt = []time.Time{earlier, earlier, earlier}
			say(&c.Records()[1], "30000000000")
		}, []time.Time{earlier, said, earlier}},
		"nonsense": {func(c *Copies) { say(&c.Records()[1], "soon") }, []time.Time{now, now, now}},
		"behind a filtered record": {func(c *Copies) {
			say(&c.Records()[1], "30000000000")
			apply(c, "fss")
		}, []time.Time{now, said, now}},
		"behind a filtered record, with states": {func(c *Copies) {
			say(&c.Records()[1], "30000000000")
			c.TakeOut(0, 1, FlagFilter)
		}, []time.Time{now, said, now}},
		"unanswered": {func(c *Copies) {
			say(&c.Records()[1], "30000000000")
			c.RetryFrom(1)
		}, []time.Time{now, said, now}},
	} {
		c := newCopies(3, nil)
		test.do(c)
		c.SetReadTimes(now)
		if got := readTimes(c.Source()); !slices.EqualFunc(got, test.want, time.Time.Equal) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	c := newCopies(3, nil)
	c.RetryFrom(1)
	_, all := divideAll(c)
	last := all[len(all)-1]
	say(&last.Records()[1], "30000000000")
	last.SetReadTimes(now)
	if got := readTimes(c.Source()); !slices.EqualFunc(got, []time.Time{now, now, said}, time.Time.Equal) {
		t.Errorf("part: got %v", got)
	}
}

// The allocations of a batch that nobody marks do not depend on its size.
func TestCopies_unmarkedCostNothingPerRecord(t *testing.T) {
	allocations := func(n int) float64 {
		source, pool := &SourceBatch{}, &Pool{}
		all := slices.Repeat(records(0, 1), n)
		positions := Positions(all)
		results := make([]sdk.ProcessedRecord, n)
		for i := range results {
			results[i] = sdk.SingleRecord(all[i])
		}
		return testing.AllocsPerRun(20, func() {
			source.Reset()
			pool.PutBack()
			c := &Copies{}
			c.Attach(source, pool, "")
			c.Fill(all, positions)
			if source.EmptyPosition() >= 0 || !c.IsAsRead() {
				t.Fatal("the records are not as read")
			}
			c.SetReadTimes(time.Time{})
			c.BeginTask(false)
			c.Records()
			var r Results
			r.Count(results)
			c.Apply(&r)
			c.EndTask(false)
			c.Set(n/2, all[:n/4])
			c.Mark(0, n, FlagAck)
			c.Status(n - 1)
			c.Divide(func(Flag) *Copies { panic("there are several parts") })
			if c.SourceRecords() != n {
				t.Fatal("some records are gone")
			}
			if err := c.Retain(1); err != nil {
				t.Fatal(err)
			}
			fork := &Copies{}
			c.Fork(fork, &CopyInfos{})
			if err := errors.Join(c.Settle(), fork.Settle()); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocations(10), allocations(10_000); many > few || many > 8 {
		t.Errorf("%v allocations for 10 records, %v for 10,000", few, many)
	}
}

// The source records of a run have equally many copies.
func TestCopies_eachRun(t *testing.T) {
	for _, test := range []struct {
		results string // applied one after the other
		want    string
	}{
		{"", "0-6*1"},
		{"sffs2s", "0-6*1"}, // as one copy each until they have states
		{"sffs2s -", "0-4*1 4-5*2 5-6*1"},
		{"222222 -", "0-6*2"},
		{"22f233 -", "0-2*2 2-3*1 3-4*2 4-6*3"},
		{"ffffff", "0-6*1"},
	} {
		c := newCopies(6, nil)
		for results := range strings.FieldsSeq(test.results) {
			apply(c, results)
		}
		var runs []string
		_ = c.eachRun(func(from, to, k int) error {
			runs = append(runs, fmt.Sprintf("%d-%d*%d", from, to, k))
			return nil
		})
		if got := strings.Join(runs, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.results, got, test.want)
		}
		for i := range runs {
			calls := 0
			if err := c.eachRun(func(int, int, int) error {
				calls++
				if calls > i {
					return errNo
				}
				return nil
			}); err != errNo || calls != i+1 {
				t.Errorf("%s: error %v after %d calls, want it after %d", test.results, err, calls, i+1)
			}
		}
	}
}

// positionWithRoom returns a position with spare capacity.
func positionWithRoom() opencdc.Position { return append(make(opencdc.Position, 0, 8), "new"...) }

// A task that is not trusted may change the positions of records that it then leaves
// unanswered. They are clipped, too.
func TestCopies_endTaskClipsUnanswered(t *testing.T) {
	c := newCopies(3, nil)
	c.BeginTask(false)
	c.Records()[2].Position = positionWithRoom()
	c.RetryFrom(1)
	c.EndTask(false)
	_, all := divideAll(c)
	again := all[1]
	again.BeginTask(false)
	again.EndTask(true)
	if p := again.Records()[1].Position; len(p) < cap(p) {
		t.Error("there is room behind the position of a record that was answered in a later round")
	}
}

// If copies are shared, so are the unanswered ones.
func TestCopies_shareUnanswered(t *testing.T) {
	c := newCopies(3, nil)
	c.RetryFrom(1)
	c.Share()
	wantSharedParts(t, c)
}

// wantSharedParts divides copies and fails the test if one of the parts is not shared.
func wantSharedParts(t *testing.T, c *Copies) {
	t.Helper()
	flags, all := divideAll(c)
	for i, part := range all {
		if !part.IsShared() {
			t.Errorf("the part with flag %d is not shared", flags[i])
		}
	}
}
