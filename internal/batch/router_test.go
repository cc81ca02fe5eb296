package batch

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

// newBranches returns n branches, of which those in without have no Copies.
func newBranches(n int, without ...int) []Branch {
	branches := make([]Branch, n)
	for i := range branches {
		if !slices.Contains(without, i) {
			branches[i] = Branch{Copies: &Copies{}, Infos: &CopyInfos{}}
		}
	}
	return branches
}

// setBranches chooses a branch for each active record, from the last one to the first.
func setBranches(c *Copies, branchOf func(i int) int) {
	for i := c.Len() - 1; i >= 0; i-- {
		c.SetBranch(i, branchOf(i))
	}
}

// route sends the active copies down branches, and the same in the model. It compares
// what each branch gets. The result has the branches that got anything.
func route(r *Router, c *Copies, m *model, branchOf func(i int) int, branches []Branch) ([]travelling, error) {
	setBranches(c, branchOf)
	want := m.route(branchOf, branches)
	if err := r.Route(c, branches); err != nil {
		return nil, err
	}
	var routed []travelling
	for i, b := range branches {
		switch {
		case b.Copies == nil:
			continue
		case want[i] == nil && (b.Copies.Source() != nil || !b.Copies.IsEmpty()):
			return nil, fmt.Errorf("branch %d got %+v", i, b.Copies.contents(nil))
		case want[i] == nil:
			continue
		}
		if err := want[i].compare(b.Copies); err != nil {
			return nil, fmt.Errorf("branch %d: %w", i, err)
		}
		if b.Copies.pool != nil || b.Copies.infos != b.Infos {
			return nil, fmt.Errorf("branch %d has a pool, or infos of another one", i)
		}
		routed = append(routed, travelling{copies: b.Copies, model: want[i]})
	}
	return routed, nil
}

// routedForms bring the books of six records into each of their forms.
var routedForms = map[string][]op{
	"as read":             {},
	"filtered":            {{kind: opFilter, i: 1, end: 2}, {kind: opFilter, i: 3, end: 5}},
	"filtered by results": {{kind: opApply, results: "fssfsf"}},
	"split":               {{kind: opSplit, i: 1, end: 2, number: firstEmpty}, {kind: opSplit, i: 2, end: 3, number: 2 * firstEmpty}},
	"split by results":    {{kind: opApply, results: "2s3fsS", number: firstEmpty}},
	"all filtered but one": {
		{kind: opFilter, i: 0, end: 3}, {kind: opFilter, i: 1, end: 3},
	},
	"marked and unmarked": {
		{kind: opNack, i: 1, end: 2},
		{kind: opRetryFrom, i: 4, end: 6},
		{kind: opAck, i: 0, end: 6},
	},
}

// Each copy goes down its branch, in order; filtered ones and those of a branch without
// Copies are done at once. Nothing else is done before a branch settles it.
func TestRouter(t *testing.T) {
	const n = 6
	for name, ops := range routedForms {
		for choice, branchOf := range map[string]func(i int) int{
			"in turn": func(i int) int { return i % 3 },
			"one":     func(int) int { return 2 },
			"halves":  func(i int) int { return i / 3 % 3 },
		} {
			for _, without := range [][]int{nil, {0}, {2}, {0, 1, 2}} {
				for _, hasIDs := range []bool{false, true} {
					c, m := newCopies(n, &Pool{}), newModel(n)
					if hasIDs {
						c = newIdentified(n)
						m.hasIDs = true
					}
					for _, o := range ops {
						o.do(c)
						o.model(m)
					}
					if err := routeAndSettle(c, m, branchOf, newBranches(3, without...)); err != nil {
						t.Errorf("%s, %s, without branches %d, IDs %t: %v", name, choice, without, hasIDs, err)
					}
				}
			}
		}
	}
}

// routeAndSettle sends copies down branches, and settles one branch after the other.
func routeAndSettle(c *Copies, m *model, branchOf func(i int) int, branches []Branch) error {
	var r Router
	source := c.Source()
	routed, err := route(&r, c, m, branchOf, branches)
	if err != nil {
		return err
	}
	for i, tr := range routed {
		if err := m.source.compare(source); err != nil {
			return fmt.Errorf("before branch %d is settled: %w", i, err)
		}
		if err := settlePart(tr); err != nil {
			return err
		}
	}
	if _, to, _ := source.Finished(); to != len(source.Positions) {
		return fmt.Errorf("%d records are finished", to)
	}
	return m.source.compare(source)
}

// The records keep the order that they had, and so do the pieces of a record, wherever
// the others go.
func TestRouter_order(t *testing.T) {
	c, branches := newCopies(5, nil), newBranches(2)
	apply(c, "s3fs2")
	setBranches(c, func(i int) int { return i % 2 })
	all := namesOf(c.Records())
	var r Router
	if err := r.Route(c, branches); err != nil {
		t.Fatal(err)
	}
	for b := range branches {
		var want []string
		for i := b; i < len(all); i += 2 {
			want = append(want, all[i])
		}
		if got := namesOf(branches[b].Copies.Records()); !slices.Equal(got, want) {
			t.Errorf("branch %d: %v, want %v", b, got, want)
		}
	}
}

// What happens on one branch is not seen on another one that has pieces of the same
// record: marks, siblings, splits. The record is nacked once, as it was before its split.
func TestRouter_piecesApart(t *testing.T) {
	c, branches := newCopies(2, nil), newBranches(2)
	c.Split(0, records(10, 4))
	setBranches(c, func(i int) int { return i % 2 }) // 10, 12, 1 and 11, 13
	var r Router
	if err := r.Route(c, branches); err != nil {
		t.Fatal(err)
	}
	a, b := branches[0].Copies, branches[1].Copies
	a.Nack(1, errNo)
	b.Split(0, records(20, 3))
	a.NackSiblings()
	if got, want := flagsOf(a), []Flag{FlagNack, FlagNack, FlagAck}; !slices.Equal(got, want) {
		t.Errorf("flags %v, want %v", got, want)
	}
	if got, want := flagsOf(b), slices.Repeat([]Flag{FlagAck}, 4); !slices.Equal(got, want) {
		t.Errorf("flags of the other branch %v, want %v", got, want)
	}
	source := a.Source()
	if err := a.SettleMarked("first"); err != nil {
		t.Fatal(err)
	}
	if isFinished(a, 0) || !isFinished(a, 1) {
		t.Error("the record is finished while there are pieces on the other branch, or the other one is not")
	}
	b.Nack(0, errors.New("second"))
	if err := b.SettleNacked("second"); err != nil {
		t.Fatal(err)
	}
	first := source.Ledger.Cause(0)
	if first == nil || source.Ledger.Cause(1) != nil {
		t.Fatal("the nacked record is not the first one")
	}
	if got, want := causeOf(first), (cause{record: "0", position: "p0", task: "first", err: errNo}); got != want {
		t.Errorf("nacked with %+v, want %+v", got, want)
	}
}

// Nacks on a forgiven branch are done, and those of the other branches count.
func TestRouter_forgiven(t *testing.T) {
	for _, forgiven := range []int{0, 1} {
		c, branches := newCopies(4, nil), newBranches(2)
		setBranches(c, func(i int) int { return i % 2 })
		var r Router
		if err := r.Route(c, branches); err != nil {
			t.Fatal(err)
		}
		branches[forgiven].Copies.Forgive()
		for _, b := range branches {
			b.Copies.Nack(0, errNo, errNo)
			if err := b.Copies.SettleMarked("task"); err != nil {
				t.Fatal(err)
			}
		}
		source := branches[0].Copies.Source()
		if _, to, nacked := source.Finished(); to != 4 || !slices.Equal(nacked, []int{1 - forgiven, 3 - forgiven}) {
			t.Errorf("branch %d is forgiven: %d are finished, nacked %v", forgiven, to, nacked)
		}
	}
}

// Copies of a forgiven branch are forgiven on all branches after a route, too.
func TestRouter_onForgivenBranch(t *testing.T) {
	c, branches := newCopies(2, nil), newBranches(2)
	c.Forgive()
	setBranches(c, func(i int) int { return i })
	var r Router
	if err := r.Route(c, branches); err != nil {
		t.Fatal(err)
	}
	for _, b := range branches {
		b.Copies.Nack(0, errNo)
		if err := b.Copies.SettleMarked("task"); err != nil {
			t.Fatal(err)
		}
	}
	if _, to, nacked := branches[0].Copies.Source().Finished(); to != 2 || len(nacked) > 0 {
		t.Errorf("%d are finished, nacked %v", to, nacked)
	}
}

// The branches know what the copies knew: whether others hold the records, the key of
// piece IDs, and which records are pieces.
func TestRouter_common(t *testing.T) {
	for _, isShared := range []bool{false, true} {
		c, branches := newIdentified(2), newBranches(2)
		c.Split(0, records(10, 2))
		if isShared {
			c.Share()
		}
		setBranches(c, func(i int) int { return i % 2 })
		var r Router
		if err := r.Route(c, branches); err != nil {
			t.Fatal(err)
		}
		for i, b := range branches {
			if b.Copies.IsShared() != isShared {
				t.Errorf("branch %d is shared: %t", i, b.Copies.IsShared())
			}
		}
		b := branches[1].Copies // the second piece
		b.Split(0, records(20, 2))
		b.WritePieceIDs()
		if got, want := namesOf(b.Records()), []string{"20@1.0", "21@1.1"}; !slices.Equal(got, want) {
			t.Errorf("pieces %v, want %v", got, want)
		}
	}
}

// Copies that were routed are routed again, forked, divided and unshared like others.
func TestRouter_nested(t *testing.T) {
	c, m := newCopies(8, nil), newModel(8)
	for _, o := range []op{{kind: opApply, results: "2sf3ss2s", number: firstEmpty}} {
		o.do(c)
		o.model(m)
	}
	var outer, inner Router
	routed, err := route(&outer, c, m, func(i int) int { return i % 2 }, newBranches(2))
	if err != nil {
		t.Fatal(err)
	}
	var leaves []travelling
	for k, tr := range routed {
		tr.copies.Split(1, records(10*firstEmpty*(k+1), 2))
		tr.model.split(1, numbers(10*firstEmpty*(k+1), 2))
		if k == 0 {
			again, err := route(&inner, tr.copies, tr.model, func(i int) int { return 2 - i%3 }, newBranches(3, 1))
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, again...)
			continue
		}
		if err := tr.copies.Retain(1); err != nil {
			t.Fatal(err)
		}
		tr.model.retain(1)
		leaves = append(leaves, newFork(tr.copies, tr.model), newFork(tr.copies, tr.model))
		if _, err := leaves[len(leaves)-1].copies.Unshare(); err != nil {
			t.Fatal(err)
		}
	}
	for i, leaf := range leaves {
		leaf.copies.Nack(i%leaf.model.len(), errNo)
		leaf.model.nack(i%leaf.model.len(), errNo)
		if err := endByParts(leaf.copies, leaf.model); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
	}
	for i, open := range m.source.open {
		if open != 0 {
			t.Errorf("the model has %d open copies of record %d", open, i)
		}
	}
}

// A copy forgets its branch when it has got there. So a route that chooses none for it
// sends it down the first branch.
func TestRouter_forgetsBranch(t *testing.T) {
	c, branches := newCopies(2, nil), newBranches(3)
	setBranches(c, func(int) int { return 2 })
	var outer, inner Router
	if err := outer.Route(c, branches); err != nil {
		t.Fatal(err)
	}
	again := newBranches(2)
	if err := inner.Route(branches[2].Copies, again); err != nil {
		t.Fatal(err)
	}
	if n := again[0].Copies.Len(); n != 2 {
		t.Errorf("%d records are on the first branch", n)
	}
}

// Pieces go where the record was to go, unless a branch is chosen for them. The last
// choice counts.
func TestCopies_SetBranch(t *testing.T) {
	c, branches := newCopies(3, nil), newBranches(3)
	c.BeginTask(false)
	if c.HasBranches() {
		t.Error("there are branches before one is chosen")
	}
	c.SetBranch(1, 2)
	c.SetBranch(0, 1)
	c.SetBranch(0, 2)
	c.Split(1, records(10, 3))
	c.SetBranch(2, 1)
	c.RetryFrom(4)
	c.SetBranch(4, 1) // one of the unanswered
	c.Mark(4, 5, FlagAck)
	if !c.HasBranches() {
		t.Error("there are no branches")
	}
	c.EndTask(true)
	if c.BeginTask(false); c.HasBranches() {
		t.Error("the next task has branches")
	}
	var r Router
	if err := r.Route(c, branches); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{{}, {"11", "2"}, {"0", "10", "12"}} {
		if got := branches[i].Copies.names(); !slices.Equal(got, want) {
			t.Errorf("branch %d: %v, want %v", i, got, want)
		}
	}
	b := branches[1].Copies
	if b.BeginTask(false); b.HasBranches() {
		t.Error("the copies of a branch have branches")
	}
}

// Branches may be edited at will: none writes to the memory of another one.
func TestRouter_ownMemory(t *testing.T) {
	c, branches := newCopies(6, nil), newBranches(3)
	setBranches(c, func(i int) int { return i / 2 })
	before := c.Records()
	var r Router
	if err := r.Route(c, branches); err != nil {
		t.Fatal(err)
	}
	first := branches[0].Copies
	first.Records()[0].Metadata = opencdc.Metadata{}
	first.Split(1, records(20, 5))
	_ = append(first.Records(), record(30))
	first.TakeOut(0, 2, FlagFilter)
	_ = first.Records()
	for i, want := range [][]string{2: {"4", "5"}, 1: {"2", "3"}} {
		if got := branches[i].Copies.names(); want != nil && !slices.Equal(got, want) {
			t.Errorf("branch %d: %v, want %v", i, got, want)
		}
	}
	if before[0].Metadata != nil {
		t.Error("the slice of the batch was written to")
	}
	if err := branches[1].Copies.insides(); err != nil {
		t.Error(err)
	}
}

// Clear keeps the memory, which then refers to nothing. Memory follows the work.
func TestRouter_Clear(t *testing.T) {
	var r Router
	round := func(n int) []opencdc.Record {
		c, branches := newCopies(n, nil), newBranches(2)
		setBranches(c, func(i int) int { return i % 2 })
		if err := r.Route(c, branches); err != nil {
			t.Fatal(err)
		}
		all := r.records
		if r.Clear(); r.records != nil || r.states != nil {
			t.Fatal("the memory is held twice")
		}
		return all
	}
	first := round(1000)
	for i := range first {
		if first[i].Position != nil || first[i].Key != nil {
			t.Fatalf("record %d is still held", i)
		}
	}
	if second := round(900); &second[0] != &first[0] {
		t.Error("the memory was not used again")
	}
	for range 40 {
		round(10)
	}
	if third := round(10); &third[0] == &first[0] || cap(third) > 200 {
		t.Errorf("room for %d records is kept for 10", cap(third))
	}
	r.Clear() // nothing to forget
	states, ends := make([]copyState, 10), newBranches(2)
	if n := testing.AllocsPerRun(100, func() {
		r.reserve(states, ends)
		r.Clear()
	}); n > 0 {
		t.Errorf("%.0f allocations for each batch", n)
	}
}

// Route returns the error of the ledger, and still hands out the copies.
func TestRouter_lost(t *testing.T) {
	c, branches := newCopies(3, nil), newBranches(2, 1)
	c.TakeOut(2, 3, FlagFilter)
	setBranches(c, func(i int) int { return i })
	source := c.Source()
	for slot := 1; slot < 3; slot++ {
		if err := source.Ledger.Settle(slot, slot+1, 1); err != nil {
			t.Fatal(err)
		}
	}
	var r Router
	if err := r.Route(c, branches); err == nil {
		t.Errorf("the error is %v", err)
	}
	if got := branches[0].Copies.names(); !slices.Equal(got, []string{"0"}) {
		t.Errorf("branch 0 has %v", got)
	}
}
