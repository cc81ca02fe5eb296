package batch

import (
	"runtime"
	"testing"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
)

// named returns the info that a number refers to.
func (n *CopyInfos) named(number int32) copyInfo { return n.of(&copyState{info: number}) }

func TestCopyInfos_numbers(t *testing.T) {
	n := &CopyInfos{}
	if got := n.named(0); got != (copyInfo{}) || n.len() != 0 {
		t.Errorf("without infos there is %v", got)
	}
	var kept []*opencdc.Record
	for i := range 100 {
		r := n.keep(record(i))
		kept = append(kept, r)
		if got := n.add(copyInfo{original: r, err: errNo}); int(got) != i+1 || n.len() != i+1 {
			t.Fatalf("info %d has the number %d", i, got)
		}
	}
	for i, r := range kept {
		if nameOf(r) != numbers(i, 1)[0] || n.named(int32(i+1)) != (copyInfo{original: r, err: errNo}) {
			t.Errorf("info %d is %v", i, n.named(int32(i+1)))
		}
	}
}

// Many records are kept in few arrays.
func TestCopyInfos_keepAllocations(t *testing.T) {
	r := record(1)
	if allocs := testing.AllocsPerRun(10, func() {
		n := &CopyInfos{}
		for range 1_000 {
			n.keep(r)
		}
	}); allocs > 12 {
		t.Errorf("%v allocations", allocs)
	}
	n := &CopyInfos{}
	n.keep(r)
	if cap(n.originals) != 1 {
		t.Errorf("there is room for %d records, one is kept", cap(n.originals))
	}
}

// The infos of a branch continue those of all branches that it is nested in.
func TestCopyInfos_branches(t *testing.T) {
	var ways [4]CopyInfos
	numbers := []int32{}
	originals := records(0, 12)
	for i := range ways {
		if i > 0 {
			ways[i].branchFrom(&ways[i-1])
		}
		for k := range i { // the first one has none of its own
			numbers = append(numbers, ways[i].add(copyInfo{original: &originals[3*i+k]}))
		}
		for k, number := range numbers {
			if want := int32(k + 1); number != want || ways[i].named(number).original == nil {
				t.Errorf("branch %d: info %d has the number %d", i, want, number)
			}
		}
	}
	last := &ways[len(ways)-1]
	for k, want := range []string{"3", "6", "7", "9", "10", "11"} {
		if got := nameOf(last.named(int32(k + 1)).original); got != want {
			t.Errorf("info %d is of record %s, want %s", k+1, got, want)
		}
	}
	// Others do not see what a branch adds.
	sibling := &CopyInfos{}
	sibling.branchFrom(&ways[2])
	if number := sibling.add(copyInfo{err: errNo}); number != 4 || last.named(4).err != nil || sibling.named(4).err != errNo {
		t.Errorf("the sibling's info has the number %d", number)
	}
}

// grow makes all the room at once.
func TestCopyInfos_grow(t *testing.T) {
	n := &CopyInfos{}
	n.grow(100)
	n.add(copyInfo{})
	first := &n.own[0]
	for range 99 {
		n.add(copyInfo{})
	}
	if &n.own[0] != first {
		t.Error("the infos were moved")
	}
	n.grow(1_000)
	if cap(n.own)-len(n.own) < 1_000 {
		t.Errorf("there is room for %d more", cap(n.own)-len(n.own))
	}
}

// Clear keeps the memory for the next infos, but nothing that the old ones refer to.
func TestCopyInfos_clear(t *testing.T) {
	n, before := &CopyInfos{}, &CopyInfos{}
	before.add(copyInfo{})
	n.branchFrom(before)
	kept := weak.Make(n.keep(record(1)))
	for range 100 {
		n.add(copyInfo{original: kept.Value(), err: errNo})
	}
	memory := n.own
	n.Clear()
	if n.len() != 0 || n.before != nil {
		t.Errorf("%d infos are left", n.len())
	}
	n.grow(1)
	n.own = n.own[:1]
	if !isSame(n.own, memory) || n.own[0] != (copyInfo{}) {
		t.Error("the memory was given up, or not cleared")
	}
	runtime.GC()
	if kept.Value() != nil {
		t.Error("a record is kept")
	}
	runtime.KeepAlive(n)
}
