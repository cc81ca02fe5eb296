package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// A plan is everything that the seed of a life decides.
type plan struct {
	seed    uint64
	sources int // 1, or 2 that share a sink
	records int // of each source
	batch   int // records per read

	readAhead    int // 0 for none
	wholeBatches bool
	coalesced    bool // one save stands for many positions
	gzipped      bool // some input files are compressed
	failingStore bool // saves fail now and then
	limitedFiles bool // some runs may not write large files, as on a full disk
}

func newPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	maybe := func(n int) bool { return rng.IntN(n) == 0 }
	p := plan{
		seed:    seed,
		sources: 1,
		records: 300 + rng.IntN(3000),
		batch:   1 + rng.IntN(50),
	}
	if maybe(3) {
		p.sources = 2
	}
	if maybe(3) {
		p.readAhead = 1 + rng.IntN(100)
	}
	p.wholeBatches = maybe(2)
	p.coalesced = maybe(3)
	p.gzipped = maybe(2)
	p.failingStore = maybe(4)
	p.limitedFiles = maybe(4)
	return p
}

func (p plan) String() string {
	words := []string{fmt.Sprintf("%d × %d records in batches of %d", p.sources, p.records, p.batch)}
	if p.readAhead > 0 {
		words = append(words, fmt.Sprintf("read-ahead of %d", p.readAhead))
	}
	for word, is := range map[string]bool{
		"whole batches": p.wholeBatches, "coalesced saves": p.coalesced, "gzip": p.gzipped,
		"failing store": p.failingStore, "limited files": p.limitedFiles,
	} {
		if is {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// inFlight is an upper bound on the records of a source that are read again after a kill, if
// every ack is saved before anything else is done.
func (p plan) inFlight() int {
	return p.batch + p.readAhead
}

// A fate is what happens to a record.
type fate struct {
	filtered bool
	refused  bool // before it is split
	retried  bool // a processor answers only on its second call
	pieces   int
	bad      int // the piece that is refused on the way to b, or -1
}

// fate returns the fate of a record. It is the same in every run.
func (p plan) fate(source, id int) fate {
	h := fnv.New64a()
	for _, n := range []uint64{p.seed, uint64(source), uint64(id)} {
		_ = binary.Write(h, binary.LittleEndian, n)
	}
	rng := rand.New(rand.NewPCG(h.Sum64(), 2))
	f := fate{
		filtered: rng.IntN(10) == 0,
		refused:  rng.IntN(30) == 0,
		retried:  rng.IntN(20) == 0,
		pieces:   1 + rng.IntN(3),
		bad:      -1,
	}
	if rng.IntN(40) == 0 {
		f.bad = rng.IntN(f.pieces)
	}
	return f
}
