package batch

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

// world is a worker's source batch, with all of its copies on their way through tasks
// and branches.
type world struct {
	roll func(n int) int // a number below n

	source *SourceBatch
	pool   *Pool
	model  *sourceModel

	// Only the last group moves. The others wait for it to end: the parts of a divided
	// branch share infos, which must not change while there are branches after it.
	groups [][]*travelling
	number int // of the next new record
	ids    ids // of the batch
	log    []string
}

// ids says when pieces get IDs.
type ids int

const (
	idsNever ids = iota
	idsAlways
	idsLater
)

// travelling are copies that are on their way, with their model.
type travelling struct {
	copies *Copies
	model  *model
	flag   Flag // of the divided batch's part that they are

	onlyReads bool // others hold their records
}

// begin begins a batch of n records.
func (w *world) begin(n int) {
	w.log = append(w.log, fmt.Sprintf("batch of %d", n))
	w.source.Reset()
	w.pool.PutBack()
	c, m := &Copies{}, newModel(n)
	key := ""
	if w.ids = ids(w.roll(3)); w.ids == idsAlways {
		key, m.hasIDs = idKey, true
	}
	c.Attach(w.source, w.pool, key)
	all := records(0, n)
	c.Fill(all, Positions(all))
	w.model = m.source
	w.groups = [][]*travelling{{{copies: c, model: m}}}
	w.number = firstEmpty
}

// run does random things to the copies until all are settled, or until isOver returns
// true. Then it settles the others.
func (w *world) run(isOver func() bool) error {
	for !isOver() && len(w.groups) > 0 {
		if err := w.step(); err != nil {
			return err
		}
		if err := w.compare(); err != nil {
			return err
		}
	}
	for len(w.groups) > 0 {
		last := len(w.groups) - 1
		for _, tr := range w.groups[last] {
			if err := settlePart(*tr); err != nil {
				return fmt.Errorf("at the end: %w", err)
			}
			if err := w.compare(); err != nil {
				return fmt.Errorf("at the end: %w", err)
			}
		}
		w.groups = w.groups[:last]
	}
	for i, open := range w.model.open {
		if open != 0 {
			return fmt.Errorf("the model has %d open copies of record %d", open, i)
		}
	}
	return nil
}

// compare compares all copies that are on their way with their models.
func (w *world) compare() error {
	for _, group := range w.groups {
		for i, tr := range group {
			if err := tr.model.compare(tr.copies); err != nil {
				return fmt.Errorf("copies %d of %d: %w", i, len(group), err)
			}
		}
	}
	return w.model.compare(w.source)
}

// step does something to some copies of the last group.
func (w *world) step() error {
	last := len(w.groups) - 1
	if len(w.groups[last]) == 0 {
		w.groups = w.groups[:last]
		return nil
	}
	k := w.roll(len(w.groups[last]))
	tr := w.groups[last][k]
	switch kind := w.roll(24); {
	case kind < 16:
		return w.edit(tr)
	case kind < 18:
		w.logf(k, "compare")
		return tr.model.compareRecords(tr.copies)
	case kind < 20:
		w.logf(k, "divide")
		parts, err := divide(tr.copies, tr.model)
		group := slices.Delete(w.groups[last], k, k+1)
		for i := range parts {
			parts[i].onlyReads = tr.onlyReads
			group = append(group, &parts[i])
		}
		w.groups[last] = group
		return err
	case kind < 21:
		w.logf(k, "settle")
		w.groups[last] = slices.Delete(w.groups[last], k, k+1)
		return settlePart(*tr)
	case kind < 22:
		if w.roll(4) == 0 && !tr.onlyReads {
			w.logf(k, "step out")
			forgiven := w.roll(3) == 0
			tr.model.stepOut("task", forgiven)
			return stepOut(tr.copies, "task", forgiven)
		}
		if tr.model.count(FlagNack) == 0 && len(w.groups) < 4 {
			if tr.model.count(FlagRetry) == 0 && w.roll(2) == 0 {
				w.logf(k, "route")
				return w.route(k)
			}
			w.logf(k, "fork")
			return w.fork(k)
		}
		w.logf(k, "nacked")
		return tr.model.compareNacked(tr.copies, "look")
	case tr.model.count(FlagRetry) > 0:
		return nil // they are divided first
	case kind < 23:
		w.logf(k, "share")
		tr.copies.Share()
		tr.model.isShared, tr.onlyReads = true, true
		return nil
	default:
		w.logf(k, "unshare")
		_, err := tr.copies.Unshare()
		tr.model.isShared, tr.onlyReads = false, false
		return err
	}
}

func (w *world) logf(k int, format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%d.%d:", len(w.groups), k)+fmt.Sprintf(format, args...))
}

// edit does what a task may do to copies.
func (w *world) edit(tr *travelling) error {
	n := tr.model.len()
	if n == 0 {
		w.log = append(w.log, "nothing")
		return nil
	}
	o := w.newOp(n)
	if tr.onlyReads {
		switch o.kind {
		case opRetry, opRetryFrom, opNack, opNackErrors, opAck:
		default:
			o = op{kind: opRecords}
		}
	}
	w.log = append(w.log, o.String())
	if o.kind != opApplyStepOut && (o.kind == opApply || w.roll(2) == 0) {
		tr.copies.BeginTask(false)
		defer tr.copies.EndTask(w.roll(2) == 0)
	}
	if !tr.onlyReads {
		switch w.roll(6) {
		case 0, 1:
			tr.note(w.roll(n), strconv.Itoa(len(w.log)))
		case 2:
			tr.dropID(w.roll(n))
		}
	}
	o.do(tr.copies)
	o.model(tr.model)
	return nil
}

// note changes the metadata of active record i in place.
func (tr *travelling) note(i int, note string) {
	r, s := &tr.copies.Records()[i], tr.model.at(i)
	r.Metadata = maps.Clone(r.Metadata) // split records and their pieces may have it in common
	if r.Metadata == nil {
		r.Metadata = opencdc.Metadata{}
	}
	r.Metadata["note"] = note
	s.record = withNote(s.record, note)
}

// dropID removes the ID from the metadata of active record i.
func (tr *travelling) dropID(i int) {
	r, s := &tr.copies.Records()[i], tr.model.at(i)
	r.Metadata = maps.Clone(r.Metadata)
	delete(r.Metadata, idKey)
	s.record, _, _ = strings.Cut(s.record, "@")
}

// newOp returns an op on copies of which n are active.
func (w *world) newOp(n int) op {
	i := w.roll(n)
	end := i + 1 + w.roll(n-i)
	o := op{i: i, end: end, number: w.number}
	w.number += 3*n + 3
	switch w.roll(15) {
	case 0:
		o.kind = opAck
	case 1:
		o.kind = opRetry
	case 2, 3:
		o.kind = opRetryFrom
	case 4:
		o.kind = opFilter
	case 5:
		o.kind, o.end = opFilter, i+1
	case 6:
		o.kind, o.end = opNack, i+1
	case 7:
		o.kind = opNackErrors
	case 8:
		o.kind = opSet
	case 9:
		o.kind, o.end = opSetOwn, min(end, i+3)
	case 10, 11:
		o.kind = opSplit
	case 12:
		o.kind = opReadTimes
	case 13:
		o.kind = opWriteIDs
		if w.ids == idsLater && w.roll(3) == 0 {
			o.kind = opIdentify
		}
	default:
		o.kind = opApply
		if w.roll(3) == 0 {
			o.kind = opApplyStepOut
		}
		letters := "sSkKfn-0123" // not 'o': its pieces share maps with other records
		if w.roll(3) == 0 {
			letters = "sSkKf23" // without marks
		}
		results := make([]byte, n-w.roll(2)*w.roll(n))
		for k := range results {
			results[k] = letters[w.roll(len(letters))]
		}
		o.results = string(results)
	}
	return o
}

// fork sends copies down two or three branches. Those that only read share the records.
// If there are none, the last branch keeps the records as they are.
func (w *world) fork(k int) error {
	last := len(w.groups) - 1
	tr := w.groups[last][k]
	w.groups[last] = slices.Delete(w.groups[last], k, k+1)
	n := 2 + w.roll(2)
	if err := tr.copies.Retain(n - 1); err != nil {
		return err
	}
	tr.model.retain(n - 1)
	keeps := !tr.onlyReads
	var forks []*travelling
	for i := range n {
		fork := newFork(tr.copies, tr.model)
		fork.onlyReads = w.roll(3) == 0
		switch {
		case fork.onlyReads:
			keeps = false
		case i == n-1 && keeps:
		default:
			if _, err := fork.copies.Unshare(); err != nil {
				return err
			}
			fork.model.isShared = false
		}
		forks = append(forks, &fork)
	}
	w.groups = append(w.groups, forks)
	return nil
}

// route sends copies down up to three branches, of which some may have no Copies.
func (w *world) route(k int) error {
	last := len(w.groups) - 1
	tr := w.groups[last][k]
	w.groups[last] = slices.Delete(w.groups[last], k, k+1)
	branchOf := make([]int, tr.model.len())
	for i := range branchOf {
		branchOf[i] = w.roll(3)
	}
	var without []int
	if w.roll(4) == 0 {
		without = []int{w.roll(3)}
	}
	var r Router
	routed, err := route(&r, tr.copies, tr.model, func(i int) int { return branchOf[i] }, newBranches(3, without...))
	var group []*travelling
	for i := range routed {
		routed[i].onlyReads = tr.onlyReads
		group = append(group, &routed[i])
	}
	w.groups = append(w.groups, group)
	return err
}

// newFork returns a fork of copies.
func newFork(c *Copies, m *model) travelling {
	fork := travelling{copies: &Copies{}, model: m.fork()}
	c.Fork(fork.copies, &CopyInfos{})
	return fork
}

// divide divides copies and compares the parts with what the model is divided into.
func divide(c *Copies, m *model) ([]travelling, error) {
	var parts []travelling
	flags, all := divideAll(c)
	for i := range all {
		parts = append(parts, travelling{copies: all[i], flag: flags[i]})
	}
	want := m.divide()
	for i := range parts {
		p := &parts[i]
		if len(want) == 0 {
			return nil, fmt.Errorf("part %d of %d is one too many, with flag %d: %v", i, len(parts), p.flag, p.copies.contents(nil))
		}
		w := want[0]
		if p.flag != w.flag {
			return nil, fmt.Errorf("part %d has the flag %d, want %d", i, p.flag, w.flag)
		}
		// Filtered pieces of a nacked record and the filtered records after them are two
		// parts if the unanswered copies began between them. Nobody can tell.
		if n := len(p.copies.contents(nil)); w.len() == 0 && 0 < n && n < len(w.copies) {
			rest := *w.model
			rest.copies = slices.Clone(w.copies[n:])
			w.copies = w.copies[:n]
			want = slices.Insert(want, 1, part{w.flag, &rest})
		}
		p.model = w.model
		if err := w.compare(p.copies); err != nil {
			return nil, fmt.Errorf("part %d, with flag %d: %w", i, p.flag, err)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		return nil, fmt.Errorf("there are %d parts, and %d more to be", len(parts), len(want))
	}
	return parts, nil
}

// FuzzCopies_insides does random things to copies, and checks the books after each step.
func FuzzCopies_insides(f *testing.F) {
	for _, seed := range []string{
		"", "\x03\x00\x01", "splitsplitsplit retry nack", "\x04\x05\x01\x03\x03\x02\x01\x02\x00\x01",
		"0123456789012345678901234567890123456789", "zyxwvutsrqponmlkjihgfedcba",
		"700Y100Y180Y100Y0X07707000212",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 300)]
		w := &world{source: &SourceBatch{}, pool: &Pool{}}
		w.roll = func(n int) int {
			if len(data) == 0 {
				return 0
			}
			number := int(data[0]) % n
			data = data[1:]
			return number
		}
		w.play(t, 8, func() bool { return len(data) == 0 })
	})
}

// play runs batches of up to size records until isOver returns true.
func (w *world) play(t *testing.T, size int, isOver func() bool) {
	for !isOver() {
		w.begin(w.roll(size + 1))
		if err := w.run(isOver); err != nil {
			t.Fatalf("%s: %v", strings.Join(w.log, ", "), err)
		}
	}
}

// TestCopies_random does random steps: many with few records, and some with many.
func TestCopies_random(t *testing.T) {
	for _, test := range []struct{ size, steps, worlds int }{
		{size: 4, steps: 60, worlds: 4_000},
		{size: 12, steps: 200, worlds: 300},
		{size: 300, steps: 100, worlds: 10},
	} {
		if testing.Short() || raceEnabled {
			test.worlds = test.worlds/5 + 1
		}
		t.Run(fmt.Sprintf("up to %d records", test.size), func(t *testing.T) {
			t.Parallel()
			for seed := range test.worlds {
				rnd := rand.New(rand.NewPCG(uint64(seed), uint64(test.size)))
				left := test.steps
				w := &world{roll: rnd.IntN, source: &SourceBatch{}, pool: &Pool{}}
				w.play(t, test.size, func() bool {
					left--
					return left < 0
				})
			}
		})
	}
}
