// Package partition divides records among lanes by key.
package partition

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/conduitio/funnel/internal/reuse"
)

// Partition divides the records of a round among lanes, round after round. All records
// of a round that have the same key are on one lane.
//
// Each key goes to the lane that has the fewest records so far, and keys with many
// records go first. So if all records have keys, the fullest lane has at most a third
// more records than in the best possible division. Records with the key "" go to the
// lanes in turn, and the next round continues where the last one has stopped.
//
// A round takes O(n log n) for n records and lanes. If lanes have very different numbers
// of records, it takes up to O(lanes) more for each key. It allocates only if it is
// larger than those before. Memory follows the work, as in a [reuse.Buffer]. A Partition
// is made by [New] and is not safe for concurrent use.
type Partition struct {
	seed  maphash.Seed
	turn  int   // the lane of the next record without a key
	loads loads // for each lane
	order []int // the indices of the records, lane by lane
	ends  []int // where each lane ends in order

	groupMemory                               reuse.Buffer[group]
	tableMemory, ofMemory, keysMemory, orders reuse.Buffer[int]
}

// group is a set of records that stay together: those with the same key, or those without
// a key that are on the same lane.
type group struct {
	key     string
	records int
	lane    int
}

// New returns a Partition for a number of lanes, which must be at least 1.
func New(lanes int) *Partition {
	return &Partition{seed: maphash.MakeSeed(), loads: loads{ring: make([]load, lanes)}, ends: make([]int, lanes)}
}

// Lane returns the indices of the records on a lane, in ascending order. The slice is
// valid until the next round.
func (p *Partition) Lane(lane int) []int {
	begin := 0
	if lane > 0 {
		begin = p.ends[lane-1]
	}
	return p.order[begin:p.ends[lane]:p.ends[lane]]
}

// Divide divides n records. It calls key once for each index, in ascending order. If key
// panics, the Partition is good for another round.
func (p *Partition) Divide(n int, key func(i int) string) {
	groups, groupOf := p.group(n, key)
	p.place(groups)
	p.arrange(groups, groupOf)
	p.groupMemory.Put(groups)
	p.ofMemory.Put(groupOf)
}

// group returns the groups, those without a key first, one for each lane, and the number
// of the group of each record.
func (p *Partition) group(n int, key func(i int) string) (groups []group, groupOf []int) {
	lanes := len(p.ends)
	groups = p.groupMemory.Take(lanes)[:lanes]
	for lane := range groups {
		groups[lane] = group{lane: lane}
	}
	groupOf = p.ofMemory.Take(n)
	// A hash table with open addressing. It holds numbers of groups; 0 is never the group
	// of a key and stands for an empty place. At least half of it stays empty.
	mask := 1<<bits.Len(uint(2*n)) - 1
	table := p.tableMemory.Take(mask + 1)[:mask+1]
	clear(table)
	for i := range n {
		g := p.turn
		if k := key(i); k == "" {
			p.turn = (p.turn + 1) % lanes
		} else {
			place := int(maphash.String(p.seed, k)) & mask
			for table[place] != 0 && groups[table[place]].key != k {
				place = (place + 1) & mask
			}
			if table[place] == 0 {
				table[place] = len(groups)
				groups = append(groups, group{key: k})
			}
			g = table[place]
		}
		groups[g].records++
		groupOf = append(groupOf, g)
	}
	p.tableMemory.Put(table)
	return groups, groupOf
}

// place gives each group of a key a lane, the largest groups first.
func (p *Partition) place(groups []group) {
	lanes := len(p.ends)
	p.loads.set(groups[:lanes])
	keys := p.keysMemory.Take(len(groups) - lanes)
	for g := lanes; g < len(groups); g++ {
		keys = append(keys, g)
	}
	slices.SortFunc(keys, func(a, b int) int { return cmp.Or(groups[b].records-groups[a].records, a-b) })
	for _, g := range keys {
		groups[g].lane = p.loads.addToLeast(groups[g].records)
	}
	p.keysMemory.Put(keys)
}

// arrange puts the indices of the records in the order of their lanes.
func (p *Partition) arrange(groups []group, groupOf []int) {
	for _, l := range p.loads.ring {
		p.ends[l.lane] = l.records
	}
	begin := 0
	for lane, records := range p.ends {
		p.ends[lane] = begin // grows with each record
		begin += records
	}
	p.orders.Put(p.order)
	p.order = p.orders.Take(len(groupOf))[:len(groupOf)]
	for i, g := range groupOf {
		end := &p.ends[groups[g].lane]
		p.order[*end] = i
		*end++
	}
}
