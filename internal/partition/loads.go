package partition

import (
	"cmp"
	"slices"
)

// loads are the numbers of records on the lanes, in a ring: the least load is first, and
// each is less than the next one. When the least load grows, it mostly becomes the
// greatest one. Its place is then the end of the ring, and no load moves.
type loads struct {
	ring  []load
	first int // the index of the least load
}

type load struct {
	records int
	lane    int
}

// less orders loads, and equal loads by lane.
func (l load) less(other load) bool {
	return l.records < other.records || l.records == other.records && l.lane < other.lane
}

// set sets the loads to one group for each lane.
func (l *loads) set(groups []group) {
	for lane := range l.ring {
		l.ring[lane] = load{records: groups[lane].records, lane: lane}
	}
	slices.SortFunc(l.ring, func(a, b load) int { return cmp.Or(a.records-b.records, a.lane-b.lane) })
	l.first = 0
}

// addToLeast adds records to the least load and returns its lane.
func (l *loads) addToLeast(records int) (lane int) {
	ring := l.ring
	added := ring[l.first]
	added.records += records
	at := l.first // now the last one
	if l.first++; l.first == len(ring) {
		l.first = 0
	}
	for at != l.first {
		before := at - 1
		if before < 0 {
			before = len(ring) - 1
		}
		if !added.less(ring[before]) {
			break
		}
		ring[at] = ring[before]
		at = before
	}
	ring[at] = added
	return added.lane
}
