package ledger_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"weak"

	"github.com/conduitio/funnel/internal/ledger"
)

// run is a run of finished slots at the front, either all nacked or all not.
type run struct {
	from, to int
	nacked   bool
}

func frontOf[C any](l *ledger.Ledger[C]) run {
	from, to, nacked := l.Finished(nil)
	switch {
	case len(nacked) == 0:
		return run{from, to, false}
	case nacked[0] > from:
		return run{from, nacked[0], false}
	}
	n := 1
	for n < len(nacked) && nacked[n] == from+n {
		n++
	}
	return run{from, from + n, true}
}

func mustFront[C any](t *testing.T, l *ledger.Ledger[C], want run) {
	t.Helper()
	if got := frontOf(l); got != want {
		t.Fatalf("the front is %v, want %v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLedger_zeroValue(t *testing.T) {
	var l ledger.Ledger[error]
	mustFront(t, &l, run{0, 0, false})
	if n := l.Pending(); n != 0 {
		t.Errorf("%d slots are pending", n)
	}
	must(t, l.Settle(0, 0, 1))
	must(t, l.Retain(0, 0, 1))
	for name, err := range map[string]error{
		"Settle": l.Settle(0, 1, 1),
		"Retain": l.Retain(0, 1, 1),
		"Nack":   l.Nack(0, nil),
	} {
		if err == nil {
			t.Errorf("%s counts a slot that does not exist", name)
		}
	}
}

// A record that was split and sent down branches is finished when its last copy
// is, nothing overtakes it, and it is nacked if one copy was.
func TestLedger_lifeOfABatch(t *testing.T) {
	var l ledger.Ledger[string]
	l.Reset(5)
	must(t, l.Retain(1, 2, 2)) // record 1 becomes three pieces
	must(t, l.Retain(0, 1, 1)) // everything goes down two branches
	must(t, l.Retain(1, 2, 3))
	must(t, l.Retain(2, 5, 1))

	must(t, l.Settle(0, 1, 1)) // one branch ends
	must(t, l.Settle(1, 2, 2))
	must(t, l.Nack(1, "first"))
	must(t, l.Settle(2, 5, 1))
	mustFront(t, &l, run{0, 0, false})

	must(t, l.Settle(2, 4, 1)) // the other one, from behind
	must(t, l.Nack(4, "other"))
	must(t, l.Nack(1, "second"))
	must(t, l.Settle(1, 2, 1))
	mustFront(t, &l, run{0, 0, false})
	must(t, l.Settle(0, 1, 1))
	mustFront(t, &l, run{0, 1, false})
	l.Release(1)
	mustFront(t, &l, run{1, 1, false})
	must(t, l.Settle(1, 2, 1))
	mustFront(t, &l, run{1, 2, true})
	if got := *l.Cause(1); got != "first" {
		t.Errorf("the cause is %q, want that of the first nack", got)
	}
	l.Release(2)
	mustFront(t, &l, run{2, 4, false})
	if n := l.Pending(); n != 3 {
		t.Errorf("%d slots are pending, want 3", n)
	}
	l.Release(4)
	mustFront(t, &l, run{4, 5, true})
	if got := *l.Cause(4); got != "other" {
		t.Errorf("the cause is %q", got)
	}
	l.Release(5)
	mustFront(t, &l, run{5, 5, false})
	if n := l.Pending(); n != 0 {
		t.Errorf("%d slots are pending", n)
	}
}

func TestLedger_errorsSayWhatIsWrong(t *testing.T) {
	plain := new(ledger.Ledger[error])
	plain.Reset(3)
	must(t, plain.Settle(0, 1, 1))
	spelled := new(ledger.Ledger[error])
	spelled.Reset(3)
	spellOutErrors(t, spelled)
	must(t, spelled.Settle(0, 1, 1))
	for form, l := range map[string]*ledger.Ledger[error]{"plain": plain, "spelled out": spelled} {
		for _, c := range []struct {
			name  string
			err   error
			words []string
		}{
			{"range", l.Settle(1, 4, 1), []string{"[1:4]", "out of range", "3 slots"}},
			{"negative", l.Retain(-1, 2, 1), []string{"[-1:2]", "out of range", "3 slots"}},
			{"reversed", l.Retain(2, 1, 1), []string{"[2:1]", "out of range"}},
			{"overflow", l.Nack(math.MaxInt, errors.ErrUnsupported), []string{"out of range"}},
			{"finished", l.Settle(0, 3, 1), []string{"0", "fewer than 1"}},
			{"retain finished", l.Retain(0, 3, 1), []string{"0", "fewer than 1"}},
			{"nack finished", l.Nack(0, errors.ErrUnsupported), []string{"0", "fewer than 1"}},
			{"too many", l.Settle(1, 3, 2), []string{"1", "fewer than 2"}},
			{"negative copies", l.Retain(1, 3, -1), []string{"-1", "no number of copies"}},
			{"negative settled", l.Settle(1, 3, -1), []string{"-1", "no number of copies"}},
			{"too many copies", l.Retain(1, 3, math.MaxInt32), []string{"2147483647", "no number of copies"}},
		} {
			if c.err == nil {
				t.Errorf("%s ledger, %s: there is no error", form, c.name)
				continue
			}
			for _, word := range append(c.words, "ledger: ") {
				if !strings.Contains(c.err.Error(), word) {
					t.Errorf("%s ledger, %s: error %q does not say %q", form, c.name, c.err, word)
				}
			}
		}
		if got := frontOf(l); got != (run{0, 1, false}) {
			t.Errorf("%s ledger: the front is %v after errors", form, got)
		}
		must(t, l.Settle(1, 3, 1))
		mustFront(t, l, run{0, 3, false})
	}
}

func spellOutErrors(t *testing.T, l *ledger.Ledger[error]) {
	t.Helper()
	must(t, l.Retain(0, l.Pending(), 1))
	must(t, l.Settle(0, l.Pending(), 1))
}

// The largest number of copies that a call takes fits.
func TestLedger_manyCopies(t *testing.T) {
	const many = math.MaxInt32 / 2
	var l ledger.Ledger[error]
	l.Reset(2)
	must(t, l.Retain(0, 2, many))
	must(t, l.Retain(0, 1, many))
	must(t, l.Settle(0, 1, many))
	must(t, l.Settle(0, 2, many))
	mustFront(t, &l, run{0, 0, false})
	must(t, l.Settle(0, 2, 1))
	mustFront(t, &l, run{0, 2, false})
}

// A ledger lets go of the causes of a batch when it is given the next one.
func TestLedger_resetForgetsCauses(t *testing.T) {
	var l ledger.Ledger[*[64]byte]
	var causes []weak.Pointer[[64]byte]
	l.Reset(3)
	for i := range 3 {
		cause := new([64]byte)
		causes = append(causes, weak.Make(cause))
		must(t, l.Nack(i, cause))
	}
	runtime.GC()
	for i := range causes {
		if causes[i].Value() == nil || *l.Cause(i) != causes[i].Value() {
			t.Fatalf("cause %d is lost before the reset", i)
		}
	}
	l.Reset(3)
	runtime.GC()
	for i := range causes {
		if causes[i].Value() != nil {
			t.Errorf("cause %d is still held after the reset", i)
		}
	}
	runtime.KeepAlive(&l)
}

// Once it has had a batch of that size, a ledger needs no more memory.
func TestLedger_keepsMemory(t *testing.T) {
	const size = 100
	cause := errors.New("test error")
	var l ledger.Ledger[error]
	var nacked []int
	batch := func() {
		l.Reset(size)
		_ = l.Retain(10, 20, 2)
		for i := range size {
			copies := 1
			if i >= 10 && i < 20 {
				copies = 3
			}
			if i%3 == 0 {
				_ = l.Nack(i, cause)
				copies--
			}
			_ = l.Settle(i, i+1, copies)
		}
		for l.Pending() > 0 {
			var from, to int
			if from, to, nacked = l.Finished(nacked[:0]); from == to {
				t.Fatal("the ledger is stuck")
			}
			for _, slot := range nacked {
				if *l.Cause(slot) != cause {
					t.Fatal("the cause is wrong")
				}
			}
			l.Release(to)
		}
	}
	if n := testing.AllocsPerRun(100, batch); n != 0 {
		t.Errorf("a batch costs %v allocations, want none", n)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3_000 {
		batch()
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 { // a word for each nack were more
		t.Errorf("the memory has grown by %d bytes", n)
	}
}

// A batch that is settled in order costs nothing, however large it is and even
// for a new ledger. Adding no copies does not change that.
func TestLedger_plainCostsNothing(t *testing.T) {
	const size = 1_000_000
	var fresh [12]ledger.Ledger[error]
	next := 0
	n := testing.AllocsPerRun(len(fresh)-1, func() {
		l := &fresh[next]
		next++
		l.Reset(size)
		if l.Retain(0, size, 0) != nil {
			t.Fatal("adding no copies fails")
		}
		for done := 0; done < size; done += size / 4 {
			if l.Settle(done, done+size/4, 1) != nil || frontOf(l) != (run{done, done + size/4, false}) {
				t.Fatal("the ledger miscounts")
			}
			l.Release(done + size/4)
		}
	})
	if n != 0 {
		t.Errorf("a batch costs %v allocations, want none", n)
	}
}

// Copies are settled on many goroutines, in about the same order, while one
// releases.
func TestLedger_concurrent(t *testing.T) {
	const (
		size     = 1_000
		block    = 10 // slots that are settled in any order
		branches = 8
	)
	var l ledger.Ledger[int]
	for round := range 20 {
		l.Reset(size)
		l.Share()
		must(t, l.Retain(0, size, branches-1))
		var branch sync.WaitGroup
		for b := range branches {
			branch.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(round), uint64(b)))
				for n, at := range slices.Repeat(rnd.Perm(block), size/block) {
					i := n/block*block + at
					if l.Pending() < 1 {
						t.Error("all slots are released before they are settled")
					}
					var err error
					switch {
					case i%5 == 0 && b%2 == 0:
						err = l.Nack(i, i*branches+b)
					case i%7 == 0: // a piece comes and goes
						err = errors.Join(l.Retain(i, i+1, 2), l.Settle(i, i+1, 3))
					default:
						err = l.Settle(i, i+1, 1)
					}
					if err != nil {
						t.Errorf("slot %d on branch %d: %v", i, b, err)
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			branch.Wait()
		}()
		var runs []run
		release := func() {
			for {
				r := frontOf(&l)
				if r.from == r.to {
					return
				}
				for i := r.from; i < r.to; i++ {
					if r.nacked && *l.Cause(i)/branches != i {
						t.Errorf("slot %d has the cause %d of another one", i, *l.Cause(i))
					}
				}
				l.Release(r.to)
				runs = append(runs, r)
			}
		}
		for isOver := false; !isOver; {
			select {
			case <-ended:
				isOver = true
			default:
				runtime.Gosched()
			}
			release()
		}
		released := 0
		for _, r := range runs {
			if r.from != released || r.to <= r.from {
				t.Fatalf("the run %v comes after slot %d", r, released)
			}
			for i := r.from; i < r.to; i++ {
				if r.nacked != (i%5 == 0) {
					t.Fatalf("slot %d is in the run %v", i, r)
				}
			}
			released = r.to
		}
		if released != size || l.Pending() != 0 {
			t.Fatalf("%d slots were released and %d are pending, want %d and 0", released, l.Pending(), size)
		}
	}
}

// The cause of the nack that came first is kept, also if others nack the same
// slot on other goroutines.
func TestLedger_concurrentNacks(t *testing.T) {
	const (
		size = 200
		late = 4
	)
	var l ledger.Ledger[string]
	l.Reset(size)
	l.Share()
	must(t, l.Retain(0, size, late))
	var branches sync.WaitGroup
	first := make([]chan struct{}, size) // closed once the first nack of a slot is in
	for i := range first {
		first[i] = make(chan struct{})
	}
	for range late {
		branches.Go(func() {
			for i := range size {
				<-first[i]
				if err := l.Nack(i, "late"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	branches.Go(func() {
		for _, i := range rand.Perm(size) {
			if err := l.Nack(i, "first"); err != nil {
				t.Error(err)
			}
			close(first[i])
		}
	})
	branches.Wait()
	mustFront(t, &l, run{0, size, true})
	for i := range size {
		if cause := *l.Cause(i); cause != "first" {
			t.Errorf("slot %d has the cause of the %s nack", i, cause)
		}
	}
}

// The cause of a slot can be asked for while others are nacked.
func TestLedger_concurrentCause(t *testing.T) {
	const size = 2_000
	var l ledger.Ledger[string]
	l.Reset(size)
	l.Share()
	must(t, l.Nack(0, "first"))
	mustFront(t, &l, run{0, 1, true})
	var branch sync.WaitGroup
	branch.Go(func() {
		for i := 1; i < size; i++ {
			if err := l.Nack(i, "other"); err != nil {
				t.Error(err)
			}
		}
	})
	for range size {
		if cause := *l.Cause(0); cause != "first" {
			t.Fatalf("the cause has changed to %q", cause)
		}
	}
	branch.Wait()
}
