package batch

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"github.com/conduitio/conduit-commons/opencdc"
)

// A nil Pool makes new buffers. Any other Pool does, too, until buffers were put back.
func TestPool_take(t *testing.T) {
	for _, p := range []*Pool{nil, {}} {
		for _, n := range []int{0, 1, 100} {
			records, again := p.takeRecords(n), p.takeRecords(n)
			if len(records) != 0 || cap(records) != n || n > 0 && unsafe.SliceData(records) == unsafe.SliceData(again) {
				t.Errorf("%d records: length %d, capacity %d", n, len(records), cap(records))
			}
			states, moreStates := p.takeStates(n), p.takeStates(n)
			if len(states) != 0 || cap(states) != n || n > 0 && unsafe.SliceData(states) == unsafe.SliceData(moreStates) {
				t.Errorf("%d states: length %d, capacity %d", n, len(states), cap(states))
			}
			pieces, morePieces := p.takePieces(n), p.takePieces(n)
			if len(pieces) != 0 || cap(pieces) != n || n > 0 && unsafe.SliceData(pieces) == unsafe.SliceData(morePieces) {
				t.Errorf("%d pieces: length %d, capacity %d", n, len(pieces), cap(pieces))
			}
		}
	}
}

// A batch gets the buffers that the batch before it has taken, in the same order.
func TestPool_putBack(t *testing.T) {
	p := &Pool{}
	var states, pieces []*byte
	for round := range 3 {
		for i := range 4 {
			s, n := p.takeStates(100-round), p.takePieces(100-round)
			state, piece := (*byte)(unsafe.Pointer(unsafe.SliceData(s))), (*byte)(unsafe.Pointer(unsafe.SliceData(n)))
			if round == 0 {
				states, pieces = append(states, state), append(pieces, piece)
			} else if states[i] != state || pieces[i] != piece {
				t.Errorf("round %d: buffer %d is another one", round, i)
			}
			if cap(s) != 100-round || cap(n) != 100-round {
				t.Errorf("round %d: room for %d and %d", round, cap(s), cap(n))
			}
		}
		p.PutBack()
	}
}

// Memory follows the work: a buffer is given up once many consecutive batches have
// needed less than a quarter of it.
func TestPool_givesUp(t *testing.T) {
	for name, small := range map[string]func(p *Pool){
		"small":  func(p *Pool) { p.takeStates(10); p.takePieces(10) },
		"unused": func(*Pool) {},
	} {
		p := &Pool{}
		states := weak.Make(unsafe.SliceData(p.takeStates(1_000)))
		pieces := weak.Make(unsafe.SliceData(p.takePieces(1_000)))
		p.PutBack()
		for i := range 100 {
			if i == 31 {
				runtime.GC()
				if states.Value() == nil || pieces.Value() == nil {
					t.Errorf("%s: given up after %d batches", name, i)
				}
			}
			small(p)
			p.PutBack()
		}
		runtime.GC()
		if states.Value() != nil || pieces.Value() != nil {
			t.Errorf("%s: kept after 100 batches", name)
		}
		runtime.KeepAlive(p)
	}
}

// A buffer refers to the records of the last batch that used it, and to no others.
func TestRecordBuffer(t *testing.T) {
	b := &recordBuffer{records: records(0, 100)}
	memory := b.records
	if got := b.take(60); len(got) != 0 || cap(got) != 60 || !isSame(got[:1], memory) {
		t.Errorf("length %d, capacity %d", len(got), cap(got))
	}
	for i, r := range memory {
		if isCleared := r.Key == nil; isCleared != (i >= 60) {
			t.Fatalf("record %d of 60 is cleared: %t", i, isCleared)
		}
	}
	if got := b.take(100); cap(got) != 100 || !isSame(got[:1], memory) || len(b.records) != 100 {
		t.Errorf("room for %d records, %d are used", cap(got), len(b.records))
	}
	if got := b.take(101); got != nil {
		t.Errorf("room for %d of 101 records", cap(got))
	}
	if got := b.take(25); cap(got) != 25 || len(b.records) != 25 {
		t.Errorf("room for %d records, %d are used", cap(got), len(b.records))
	}
	for i := range 32 {
		if got := b.take(24); (got == nil) != (i == 31) {
			t.Fatalf("small batch %d: room for %d records", i, cap(got))
		}
	}
}

// Buffers of records are used again.
func TestPool_records(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets buffers under the race detector")
	}
	p := &Pool{}
	memory := map[*opencdc.Record]bool{}
	for round, n := range []int{100, 100, 90, 101, 101} {
		for range 3 {
			buf := p.takeRecords(n)
			if len(buf) != 0 || cap(buf) != n {
				t.Errorf("round %d: length %d, capacity %d", round, len(buf), cap(buf))
			}
			memory[unsafe.SliceData(buf)] = true
		}
		if want := 3 + round/3*3; len(memory) != want {
			t.Errorf("round %d: %d buffers were made, want %d", round, len(memory), want)
		}
		taken := p.taken
		p.PutBack()
		if len(p.taken) != 0 || slices.ContainsFunc(taken, func(b *recordBuffer) bool { return b != nil }) {
			t.Errorf("round %d: some buffers are still taken", round)
		}
	}
	if allocs := testing.AllocsPerRun(20, func() {
		p.takeRecords(50)
		p.takeRecords(60)
		p.PutBack()
	}); allocs > 0.5 {
		t.Errorf("%v allocations", allocs)
	}
}

// While the worker waits, the garbage collector frees the buffers of records, with what
// they hold.
func TestPool_recordsAreCollected(t *testing.T) {
	p := &Pool{}
	data := new([1 << 10]byte)
	held := weak.Make(data)
	buf := append(p.takeRecords(10), opencdc.Record{Key: opencdc.RawData(data[:])})
	p.PutBack()
	runtime.KeepAlive(buf)
	for range 3 {
		runtime.GC()
	}
	if held.Value() != nil {
		t.Error("what a record held is kept")
	}
	runtime.KeepAlive(p)
}

// Only a whole batch takes buffers from the pool: its parts and branches make their own.
func TestPool_partsAndBranches(t *testing.T) {
	pool := &Pool{}
	c := newCopies(8, pool)
	c.Nack(3)
	c.RetryFrom(5)
	_, all := parts(c)
	fork := &Copies{}
	newCopies(3, pool).Fork(fork, &CopyInfos{})
	for i, part := range append(all, fork) {
		records, states, pieces := len(pool.taken), len(pool.states.taken), len(pool.pieces.taken)
		apply(part, strings.Repeat("2", part.Len()))
		apply(part, strings.Repeat("n", part.Len()))
		if len(pool.taken) != records || len(pool.states.taken) != states || len(pool.pieces.taken) != pieces {
			t.Errorf("part %d has taken buffers", i)
		}
	}
}
