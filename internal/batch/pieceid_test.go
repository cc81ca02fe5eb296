package batch

import (
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// ids returns the IDs of the active copies, as the books have them.
func (c *Copies) ids() []string {
	var ids []string
	for _, s := range c.contents(nil) {
		if s.flag.isActive() {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// writtenIDs returns the IDs in the metadata of the active records.
func (c *Copies) writtenIDs() []string {
	var ids []string
	for _, r := range c.Records() {
		ids = append(ids, r.Metadata[idKey])
	}
	return ids
}

// The ID of a piece is its path through the splits, whatever makes them and however the
// other records are marked. It is in the metadata at once.
func TestCopies_pieceIDs(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *Copies)
		want string
	}{
		"nothing":         {func(*Copies) {}, ", , "},
		"replaced":        {func(c *Copies) { apply(c, "1s1") }, ", , "},
		"filtered":        {func(c *Copies) { apply(c, "f0s") }, ""},
		"split":           {func(c *Copies) { c.Split(1, records(10, 3)) }, ", 0, 1, 2, "},
		"split by result": {func(c *Copies) { apply(c, "s3s") }, ", 0, 1, 2, "},
		"many":            {func(c *Copies) { apply(c, "ff"); c.Split(0, records(10, 12)) }, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"},
		"all":             {func(c *Copies) { apply(c, "222") }, "0, 1, 0, 1, 0, 1"},
		"behind filtered": {func(c *Copies) { apply(c, "fs2"); c.Split(0, records(10, 2)) }, "0, 1, 0, 1"},
		"beside marked":   {func(c *Copies) { apply(c, "n2-") }, ", 0, 1, "},
		"nested":          {func(c *Copies) { apply(c, "ff3"); apply(c, "s23") }, "0, 1.0, 1.1, 2.0, 2.1, 2.2"},
		"nested in a task": {func(c *Copies) {
			c.Split(0, records(10, 2))
			c.Split(1, records(20, 2))
			c.Split(2, records(30, 2))
			c.TakeOut(0, 2, FlagFilter)
		}, "1.1.0, 1.1.1, , "},
		"nested and filtered": {func(c *Copies) { apply(c, "3ff"); apply(c, "fs2") }, "1, 2.0, 2.1"},
		"nacked":              {func(c *Copies) { c.Nack(0, errNo, nil); apply(c, "22f"); c.Nack(1, errNo); apply(c, "s2") }, "0, 1.0, 1.1, 0, 1"},
		"nacked, then not":    {func(c *Copies) { apply(c, "2ff"); c.Nack(0, errNo, errNo); c.Mark(0, 2, FlagRetry) }, "0, 1"},
		"answered in rounds": {func(c *Copies) {
			c.RetryFrom(1)
			_, all := divideAll(c)
			*c = *all[1]
			apply(c, "2-")
			_, all = divideAll(c)
			*c = *all[1]
			apply(c, "3")
		}, "0, 1, 2"},
		"siblings of a nacked piece": {func(c *Copies) {
			apply(c, "ff3")
			c.Nack(1, errNo)
			c.RetryFrom(2)
			_, all := divideAll(c)
			*c = *all[1]
		}, "0, 1, 2"},
	} {
		c := newIdentified(3)
		test.do(c)
		if err := c.insides(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(c.ids(), ", "); got != test.want {
			t.Errorf("%s: the IDs are %s, want %s", name, got, test.want)
		}
		if got := strings.Join(c.writtenIDs(), ", "); got != test.want {
			t.Errorf("%s: the metadata have %s, want %s", name, got, test.want)
		}
	}
}

// Results that filter but do not split cost no more than without IDs.
func TestCopies_pieceIDsCostOnlySplits(t *testing.T) {
	c := newIdentified(4)
	if apply(c, "sf1S"); c.states.Len() > 0 {
		t.Error("there are states")
	}
	c = newIdentified(4)
	if apply(c, "sf2S"); c.pieces != nil {
		t.Error("there are pieces without IDs")
	}
	c = newCopies(4, nil)
	if apply(c, "sf2S"); c.states.Len() > 0 {
		t.Error("there are states, and no IDs")
	}
}

// Room for the infos of all pieces is made at once.
func TestCopies_mergeMakesRoomForIDs(t *testing.T) {
	c := newIdentified(1_000)
	apply(c, strings.Repeat("3s", 500))
	if got, want := cap(c.infos.own), 500+1_500; got != want || len(c.infos.own) != want {
		t.Errorf("there are %d infos in room for %d, want %d", len(c.infos.own), got, want)
	}
}

// An ID is written again where it is missing or wrong, to a map of the record's own.
// What others hold does not change.
func TestCopies_writePieceIDs(t *testing.T) {
	shared := opencdc.Metadata{idKey: "7", "a": "b"}
	shared0 := opencdc.Metadata{idKey: "0"}
	original := record(1)
	original.Metadata = shared
	c := newIdentified(2)
	c.Set(1, []opencdc.Record{original})
	var r Results
	r.Count([]sdk.ProcessedRecord{sdk.SingleRecord(record(0)), sdk.MultiRecord{original, original, original, original}})
	c.Apply(&r)
	all := c.Records()
	all[0].Metadata = shared  // was not split
	all[1].Metadata = shared0 // has the right ID
	all[2].Metadata = shared
	all[3].Metadata = nil
	all[4].Metadata = shared0
	c.WritePieceIDs()
	if got, want := c.writtenIDs(), []string{"7", "0", "1", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("the metadata have %q, want %q", got, want)
	}
	if shared[idKey] != "7" || shared0[idKey] != "0" || c.contents(nil)[1].original != "1@7" {
		t.Errorf("a map that others hold was changed: %v, %v", shared, shared0)
	}
	if c.Records()[2].Metadata["a"] != "b" {
		t.Error("other metadata were lost")
	}
	if shared["a"] = "c"; c.Records()[0].Metadata["a"] != "c" || c.Records()[2].Metadata["a"] != "b" {
		t.Error("the record that was not split got another map, or a piece did not")
	}
	if allocs := testing.AllocsPerRun(10, c.WritePieceIDs); allocs != 0 {
		t.Errorf("IDs that are there cost %v allocations", allocs)
	}
}

// Records to be retried are left as they are, whatever form the books have.
func TestCopies_writePieceIDsOfRetried(t *testing.T) {
	for name, mark := range map[string]func(c *Copies){
		"marked":     func(c *Copies) { c.Mark(1, 3, FlagRetry) },
		"unanswered": func(c *Copies) { c.RetryFrom(1) },
	} {
		c := newIdentified(1)
		c.Split(0, records(10, 3))
		mark(c)
		unanswered := c.unanswered
		for _, part := range []*Copies{c, unanswered} {
			if part != nil {
				for i := range part.records.All() {
					part.records.At(i).Metadata = nil
				}
			}
		}
		c.WritePieceIDs()
		if c.unanswered != unanswered {
			t.Errorf("%s: the unanswered copies were rejoined", name)
		}
		if got, want := c.writtenIDs(), []string{"0", "", ""}; !slices.Equal(got, want) {
			t.Errorf("%s: the metadata have %q, want %q", name, got, want)
		}
	}
}

// Copies may get IDs after they were split. They are numbered once.
func TestCopies_identifyPiecesLate(t *testing.T) {
	for name, do := range map[string]func(c *Copies){
		"by results": func(c *Copies) { apply(c, "3s2f") },
		"by a task": func(c *Copies) {
			c.TakeOut(3, 4, FlagFilter)
			c.Split(2, records(10, 2))
			c.Split(0, records(20, 2))
			c.Split(1, records(30, 2))
		},
	} {
		c := newCopies(4, nil)
		do(c)
		c.RetryFrom(2)
		c.IdentifyPieces(idKey)
		c.IdentifyPieces("another")
		c.Mark(0, c.Len(), FlagAck)
		c.WritePieceIDs()
		want := []string{"0", "1", "2", "", "0", "1"}
		if got := c.writtenIDs(); !slices.Equal(got, want) {
			t.Errorf("%s: the metadata have %q, want %q", name, got, want)
		}
		if err := c.insides(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Branches have the IDs from before the fork, and IDs of their own for what they split.
// The pieces of a record have one copy of its original.
func TestCopies_unsharePieceIDs(t *testing.T) {
	c := newIdentified(2)
	apply(c, "32")
	c.Nack(1, errNo)
	forks := [2]Copies{}
	if err := c.Retain(1); err != nil {
		t.Fatal(err)
	}
	for i := range forks {
		c.Fork(&forks[i], &CopyInfos{})
		if _, err := forks[i].Unshare(); err != nil {
			t.Fatal(err)
		}
		if got := forks[i].contents(nil); !slices.Equal(got, c.contents(nil)) {
			t.Errorf("the copies are %+v, want %+v", got, c.contents(nil))
		}
		var originals []*opencdc.Record
		for k := range forks[i].states.Len() {
			originals = append(originals, forks[i].infos.of(forks[i].states.At(k)).original)
		}
		if len(slices.Compact(originals)) != 2 {
			t.Error("an original was copied for each of its pieces")
		}
		forks[i].Split(i, records(100, 2))
	}
	for i, want := range [][]string{{"0.0", "0.1", "1", "2", "0", "1"}, {"0", "1.0", "1.1", "2", "0", "1"}} {
		if got := forks[i].writtenIDs(); !slices.Equal(got, want) {
			t.Errorf("branch %d: the metadata have %q, want %q", i, got, want)
		}
	}
	if got, want := c.writtenIDs(), []string{"0", "1", "2", "0", "1"}; !slices.Equal(got, want) {
		t.Errorf("before the fork the metadata have %q, want %q", got, want)
	}
}
