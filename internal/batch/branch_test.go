package batch

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/deepcopy"
)

// deepRecord returns a record with data that can be changed in place, at any depth.
func deepRecord(k int) opencdc.Record {
	r := record(k)
	r.Key = opencdc.RawData("key")
	r.Metadata = opencdc.Metadata{"a": "a"}
	r.Payload.Before = opencdc.StructuredData{"a": "a"}
	r.Payload.After = opencdc.StructuredData{"list": []any{map[string]any{"a": "a"}}}
	return r
}

// spoil changes all data of a record in place.
func spoil(r *opencdc.Record) {
	r.Key.(opencdc.RawData)[0] = 'x'
	r.Metadata["a"] = "x"
	r.Payload.Before.(opencdc.StructuredData)["a"] = "x"
	r.Payload.After.(opencdc.StructuredData)["list"].([]any)[0].(map[string]any)["a"] = "x"
}

func isSpoiled(r *opencdc.Record) bool {
	return r.Key.(opencdc.RawData)[0] == 'x' || r.Metadata["a"] == "x" ||
		r.Payload.Before.(opencdc.StructuredData)["a"] == "x" ||
		r.Payload.After.(opencdc.StructuredData)["list"].([]any)[0].(map[string]any)["a"] == "x"
}

// deepCopies bring the books of three deep records into each of their forms.
var deepCopies = map[string]func(c *Copies){
	"as read":  func(*Copies) {},
	"filtered": func(c *Copies) { apply(c, "fss") },
	"split": func(c *Copies) {
		c.Split(1, []opencdc.Record{deepRecord(10), deepRecord(11)})
		c.Nack(2, errNo)
		c.Split(1, []opencdc.Record{deepRecord(12), deepRecord(13)})
		c.Split(0, []opencdc.Record{deepRecord(14), deepRecord(15)})
	},
	"split by results": func(c *Copies) {
		var r Results
		r.Count([]sdk.ProcessedRecord{
			sdk.MultiRecord{deepRecord(10), deepRecord(11)}, sdk.FilterRecord{}, sdk.MultiRecord{deepRecord(12)},
		})
		c.Apply(&r)
	},
}

// originalsOf returns what the copies were before they were split.
func originalsOf(c *Copies) []*opencdc.Record {
	var originals []*opencdc.Record
	for i := range c.unsplit {
		originals = append(originals, &c.unsplit[i])
	}
	for i := range c.states.Len() {
		if r := c.infos.of(c.states.At(i)).original; r != nil {
			originals = append(originals, r)
		}
	}
	return originals
}

// Unshare copies everything, so that a fork shares nothing with what it was forked from.
func TestCopies_unshare(t *testing.T) {
	for name, do := range deepCopies {
		c := &Copies{}
		c.Fill([]opencdc.Record{deepRecord(0), deepRecord(1), deepRecord(2)}, make([]opencdc.Position, 3))
		do(c)
		c.Share()
		if err := c.Retain(1); err != nil {
			t.Fatal(err)
		}
		fork, before := &Copies{}, c.Len()
		c.Fork(fork, &CopyInfos{})
		if !fork.IsShared() || !isSame(fork.Records(), c.Records()) {
			t.Errorf("%s: the fork has records of its own", name)
		}
		position, err := fork.Unshare()
		if position != nil || err != nil || fork.IsShared() || !c.IsShared() {
			t.Errorf("%s: shared are %t and %t; %s, %v", name, fork.IsShared(), c.IsShared(), position, err)
		}
		originals := originalsOf(fork)
		if (len(originals) > 0) != strings.HasPrefix(name, "split") {
			t.Errorf("%s: there are %d originals", name, len(originals))
		}
		for i := range fork.Records() {
			spoil(&fork.Records()[i])
		}
		for _, r := range originals {
			spoil(r)
		}
		for i := range c.Records() {
			if isSpoiled(&c.Records()[i]) {
				t.Errorf("%s: record %d is shared", name, i)
			}
		}
		for i, r := range originalsOf(c) {
			if isSpoiled(r) {
				t.Errorf("%s: original %d is shared", name, i)
			}
		}
		if c.Len() != before || fork.Len() != before {
			t.Errorf("%s: there are %d and %d records, were %d", name, c.Len(), fork.Len(), before)
		}
	}
}

// After Unshare, the pieces of a record still have one original, and errors are the same.
func TestCopies_unshareOriginals(t *testing.T) {
	c := newCopies(3, nil)
	c.Split(1, records(10, 3))
	c.Split(0, records(20, 2))
	c.Nack(3, errNo)
	before := c.contents(nil)
	fork, infos := &Copies{}, &CopyInfos{}
	c.Fork(fork, infos)
	if _, err := fork.Unshare(); err != nil {
		t.Fatal(err)
	}
	if got := fork.contents(nil); !slices.Equal(got, before) {
		t.Errorf("the copies are %+v, want %+v", got, before)
	}
	// The pieces of the first record share an original. So do two adjacent pieces of the
	// second one.
	original := func(i int) *opencdc.Record { return infos.of(fork.states.At(i)).original }
	if original(0) != original(1) || len(infos.own) != 4 {
		t.Errorf("there are %d infos", len(infos.own))
	}
	if original(2) == c.infos.of(c.states.At(2)).original {
		t.Error("an original is shared")
	}
}

// What one branch does to its copies is not seen on another.
func TestCopies_forkedFlags(t *testing.T) {
	c := newCopies(4, nil)
	c.TakeOut(0, 1, FlagFilter)
	forks := [3]Copies{}
	if err := c.Retain(len(forks) - 1); err != nil {
		t.Fatal(err)
	}
	for i := range forks {
		c.Fork(&forks[i], &CopyInfos{})
		if forks[i].pool != nil || forks[i].Source() != c.Source() {
			t.Error("a fork has a pool, or another source batch")
		}
	}
	errs := []error{errNo, errors.New("second"), errors.New("third")}
	for i := range forks {
		forks[i].Nack(i, errs[i])
	}
	for i := range forks {
		for k := range 3 {
			wantFlag, wantErr := FlagAck, error(nil)
			if k == i {
				wantFlag, wantErr = FlagNack, errs[i]
			}
			if flag, err := forks[i].Status(k); flag != wantFlag || err != wantErr {
				t.Errorf("branch %d, record %d: flag %d, %v", i, k, flag, err)
			}
		}
	}
}

// tooDeep returns a record that is too deep to be copied.
func tooDeep(k int) opencdc.Record {
	r := record(k)
	var inner any = "end"
	for range deepcopy.MaxDepth + 1 {
		inner = []any{inner}
	}
	r.Payload.After = opencdc.StructuredData{"deep": inner}
	return r
}

// If a record is too deep to be copied, Unshare returns its position.
func TestCopies_unshareTooDeep(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *Copies)
		want string
	}{
		"record":   {func(c *Copies) { c.Set(1, []opencdc.Record{tooDeep(1)}) }, "p1"},
		"replaced": {func(c *Copies) { c.Set(1, []opencdc.Record{tooDeep(7)}) }, "p7"},
		"piece":    {func(c *Copies) { c.Split(0, []opencdc.Record{record(10), tooDeep(11)}) }, "p11"},
		"original": {func(c *Copies) {
			c.Set(2, []opencdc.Record{tooDeep(2)})
			c.Split(2, records(10, 2))
		}, "p2"},
		"original of results": {func(c *Copies) {
			c.Set(2, []opencdc.Record{tooDeep(2)})
			apply(c, "ss2")
		}, "p2"},
	} {
		c, fork := newCopies(3, nil), &Copies{}
		test.do(c)
		c.Fork(fork, &CopyInfos{})
		if p, err := fork.Unshare(); !errors.Is(err, deepcopy.ErrTooDeep) || string(p) != test.want {
			t.Errorf("%s: position %s, error %v", name, p, err)
		}
	}
}
