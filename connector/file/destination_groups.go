package file

import "github.com/conduitio/conduit-commons/opencdc"

// groups are the records of a Write, by their files, in the order in which these occur.
type groups struct {
	all    []group
	next   []int // of each record, the next one of the same file, or -1
	byPath map[string]int
	last   int    // the group of the last record
	path   []byte // the path of the last record
}

// group is the records of a file.
type group struct {
	path        string
	first, last int
}

// maxKeptGroups is the number of groups for which memory is kept.
const maxKeptGroups = 1024

// reset is for a Write of n records.
func (g *groups) reset(n int) {
	if cap(g.all) > maxKeptGroups {
		g.all, g.byPath = nil, nil
	}
	clear(g.all)
	g.all, g.next, g.last = g.all[:0], g.next[:0], -1
	clear(g.byPath)
	if cap(g.next) < n || cap(g.next) > 4*n+maxKeptGroups {
		g.next = make([]int, 0, n)
	}
}

// add adds record i. It fails if the record has no file.
func (g *groups) add(t *template, r *opencdc.Record, i int) error {
	g.next = append(g.next, -1)
	path, err := t.appendPath(g.path[:0], r)
	g.path = path
	if err != nil {
		return err
	}
	if g.last < 0 || g.all[g.last].path != string(path) {
		g.last = g.find(path, i)
	}
	if last := &g.all[g.last].last; *last != i {
		g.next[*last] = i
		*last = i
	}
	return nil
}

// find returns the group of a path. It makes one for record i if there is none.
func (g *groups) find(path []byte, i int) int {
	if n, ok := g.byPath[string(path)]; ok {
		return n
	}
	if g.byPath == nil {
		g.byPath = make(map[string]int)
	}
	n := len(g.all)
	g.all = append(g.all, group{path: string(path), first: i, last: i})
	g.byPath[g.all[n].path] = n
	return n
}
