package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/conduitio/funnel/connector/file"
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
	limitedFiles bool // some runs may not write large files
	fullDisk     bool // some runs fill a small disk
	bolt         bool // positions are in a database, not in files

	rotation  file.Rotation // of all outputs; the zero value for none
	openFiles int           // how many files with names from records may be open; 0 without such names
}

// names is how many names the records have.
const names = 3

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
	p.fullDisk = maybe(4)
	p.bolt = maybe(3)
	if maybe(2) {
		p.openFiles = 1 + rng.IntN(names-1)
	}
	switch size := int64(2000 + rng.IntN(30_000)); rng.IntN(6) {
	case 0:
		p.rotation.Bytes = size
	case 1:
		p.rotation.Age = time.Hour
	case 2:
		p.rotation = file.Rotation{Bytes: size, Age: time.Hour}
	}
	return p
}

func (p plan) String() string {
	words := []string{fmt.Sprintf("%d × %d records in batches of %d", p.sources, p.records, p.batch)}
	add := func(is bool, format string, args ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(p.readAhead > 0, "read-ahead of %d", p.readAhead)
	add(p.wholeBatches, "whole batches")
	add(p.coalesced, "coalesced saves")
	add(p.gzipped, "gzip")
	add(p.bolt, "bolt")
	add(p.openFiles > 0, "names from records with %d open files", p.openFiles)
	add(p.rotation.Bytes > 0, "rotation by size")
	add(p.rotation.Age > 0, "rotation by age")
	add(p.failingStore, "failing store")
	add(p.limitedFiles, "limited files")
	add(p.fullDisk, "full disk")
	return strings.Join(words, ", ")
}

// inFlight is an upper bound on the records of a source that are read again after a kill, if
// every ack is saved before anything else is done.
func (p plan) inFlight() int {
	return p.batch + p.readAhead
}

// maxPieces is how many pieces a record is split into at most.
const maxPieces = 3

// A fate is what happens to a record.
type fate struct {
	filtered bool
	refused  bool // before it is split
	retried  bool // a processor answers only on its second call
	pieces   int
	bad      int    // the piece that is refused on the way to b, or -1
	name     string // which of its files each output uses, if records name them
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
		pieces:   1 + rng.IntN(maxPieces),
		bad:      -1,
	}
	if rng.IntN(40) == 0 {
		f.bad = rng.IntN(f.pieces)
	}
	f.name = fmt.Sprintf("n%d", rng.IntN(names))
	return f
}
