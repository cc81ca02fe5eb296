package disktest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Sample says how many states [FS.Crashes] builds.
type Sample struct {
	// States is the maximum number of states after each call, besides two that are always
	// built: with all uncertain changes, and with none. If there are more, up to half of the
	// states lack, or have, a single change, and the others are drawn at random. The default
	// is 64.
	States int
	// Seed is the seed of the random states.
	Seed uint64
}

// Crash is a state in which a crash can leave the directory.
type Crash struct {
	// Dir is a directory with the state. It is removed after the iteration.
	Dir string
	// Calls holds the calls that were made before the crash.
	Calls []Call
	// Notes holds the notes among them.
	Notes []any

	lost []string
}

// String says when the crash came and what it has lost, for the message of a test.
func (c *Crash) String() string {
	var b strings.Builder
	last := max(len(c.Calls)-12, 0)
	fmt.Fprintf(&b, "a crash after call %d", len(c.Calls))
	for i, call := range c.Calls[last:] {
		fmt.Fprintf(&b, "\n\t%3d %s", last+i+1, call)
	}
	for _, lost := range c.lost {
		fmt.Fprintf(&b, "\n\tlost: %s", lost)
	}
	return b.String()
}

// Crashes returns the states in which a crash of the machine can leave the directory: before
// the first call, and after each of the calls so far that has changed something or is a note.
// A state is left out if it was there before, with the same notes.
func (f *FS) Crashes(t testing.TB, sample Sample) iter.Seq[*Crash] {
	t.Helper()
	if sample.States <= 0 {
		sample.States = 64
	}
	f.mu.Lock()
	calls := slices.Clone(f.calls)
	s := f.start.clone()
	f.mu.Unlock()
	return func(yield func(*Crash) bool) {
		t.Helper()
		b := &builder{t: t, sample: sample, base: t.TempDir(), seen: make(map[[sha256.Size]byte]bool)}
		if !b.each(s, nil, yield) {
			return
		}
		for i := range calls {
			if s.apply(i, &calls[i]) && !b.each(s, calls[:i+1:i+1], yield) {
				return
			}
		}
	}
}

// builder builds states.
type builder struct {
	t      testing.TB
	sample Sample
	base   string
	seen   map[[sha256.Size]byte]bool // the trees, with the number of notes
	built  int
}

// each yields the states after the calls. It returns false if the test wants no more of them.
func (b *builder) each(s *state, calls []Call, yield func(*Crash) bool) bool {
	var notes []any
	for _, c := range calls {
		if c.Kind == Note {
			notes = append(notes, c.Note)
		}
	}
	uncertain := s.uncertain()
	for has := range b.choices(len(uncertain), len(calls)) {
		next := 0
		tree := s.build(func(int) bool {
			next++
			return has[next-1]
		})
		key := tree.hash(len(notes))
		if b.seen[key] {
			continue
		}
		b.seen[key] = true
		c := &Crash{Dir: b.write(tree), Calls: calls, Notes: notes, lost: describeLost(calls, uncertain, has)}
		isWanted := yield(c)
		if err := os.RemoveAll(c.Dir); err != nil {
			b.t.Fatal(err)
		}
		if !isWanted {
			return false
		}
	}
	return true
}

// choices returns which of n changes have happened: all possibilities, or a sample.
func (b *builder) choices(n, call int) iter.Seq[[]bool] {
	has := make([]bool, n)
	fill := func(value bool) []bool {
		for i := range has {
			has[i] = value
		}
		return has
	}
	return func(yield func([]bool) bool) {
		if n < 30 && 1<<n <= b.sample.States {
			for bits := range 1 << n {
				for i := range has {
					has[i] = bits>>i&1 == 1
				}
				if !yield(has) {
					return
				}
			}
			return
		}
		if !yield(fill(true)) || !yield(fill(false)) {
			return
		}
		random := rand.New(rand.NewPCG(b.sample.Seed, uint64(call)))
		single := random.Perm(2 * n)
		single = single[:min(len(single), b.sample.States/2)]
		for _, i := range single {
			fill(i%2 == 0)
			has[i/2] = !has[i/2]
			if !yield(has) {
				return
			}
		}
		for range b.sample.States - len(single) {
			share := [...]float64{0.1, 0.5, 0.9}[random.IntN(3)]
			for i := range has {
				has[i] = random.Float64() < share
			}
			if !yield(has) {
				return
			}
		}
	}
}

// write makes a directory with the tree.
func (b *builder) write(t tree) string {
	b.t.Helper()
	b.built++
	dir := filepath.Join(b.base, fmt.Sprint(b.built))
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		path, err := filepath.Join(dir, filepath.FromSlash(name)), error(nil)
		if content := t[name]; content == nil {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return dir
}

// hash returns a checksum of the tree and a number.
func (t tree) hash(n int) (sum [sha256.Size]byte) {
	h := sha256.New()
	add := func(n int, data string) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		h.Write(b[:])
		h.Write([]byte(data))
	}
	add(n, "")
	for _, name := range slices.Sorted(maps.Keys(t)) {
		add(len(name), name)
		if t[name] == nil {
			add(-1, "")
		} else {
			add(len(t[name]), string(t[name]))
		}
	}
	h.Sum(sum[:0])
	return sum
}

// describeLost says which changes have not happened.
func describeLost(calls []Call, uncertain []int, has []bool) []string {
	lost, all := make(map[int]int), make(map[int]int)
	for i, call := range uncertain {
		all[call]++
		if !has[i] {
			lost[call]++
		}
	}
	var texts []string
	for _, call := range slices.Sorted(maps.Keys(lost)) {
		text := fmt.Sprintf("%d %s", call+1, calls[call])
		if lost[call] < all[call] {
			text += fmt.Sprintf(" (%d of %d parts)", lost[call], all[call])
		}
		texts = append(texts, text)
	}
	return texts
}
