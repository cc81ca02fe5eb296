package batch

import (
	"math"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/gap"
	"github.com/conduitio/funnel/internal/reuse"
)

// MaxBranches is the maximum number of branches of a Router.
const MaxBranches = math.MaxInt16

// SetBranch chooses the branch to which a Router sends active record i, and its pieces if
// it is split. Without it, that is branch 0.
func (c *Copies) SetBranch(i, branch int) {
	c.rejoinBefore(i + 1)
	c.ensureStates()
	c.state(i).branch = int16(branch)
	c.hasBranches = true
}

// HasBranches returns true if SetBranch was called since BeginTask.
func (c *Copies) HasBranches() bool { return c.hasBranches }

// Router divides copies among the branches of a fan-out, so that each goes down one of
// them. It reuses its memory from batch to batch. The zero value is ready for use.
type Router struct {
	records []opencdc.Record
	states  []copyState
	ends    []int // for each branch, where its part of records and states ends

	recordMemory reuse.Buffer[opencdc.Record]
	stateMemory  reuse.Buffer[copyState]
}

// Branch is where the copies of one branch go.
type Branch struct {
	Copies *Copies    // must be empty; nil settles the copies as done
	Infos  *CopyInfos // must be empty
}

// Route gives each branch its copies, in order. It settles filtered copies as done. No
// copy may be nacked or to be retried, and c must not be used anymore. What the branches
// get is valid until Clear. Route returns the error of the ledger.
func (r *Router) Route(c *Copies, branches []Branch) error {
	c.ensureStates()
	records, states := c.records.All(), c.states.All()
	r.reserve(states, branches)
	done := runs{ledger: &c.source.Ledger, isSettle: true}
	for i := range states {
		s := &states[i]
		switch {
		case !s.flag.isActive():
			done.add(int(s.slot), 1)
			continue
		case branches[s.branch].Copies == nil:
			done.add(int(s.slot), 1)
		default:
			n := r.ends[s.branch]
			r.records[n], r.states[n] = records[0], *s
			r.states[n].branch = 0 // for the next Router
			r.ends[s.branch]++
		}
		records = records[1:]
	}
	from := 0
	for i, to := range r.ends {
		if b := branches[i]; from < to {
			b.Infos.branchFrom(c.infos)
			b.Copies.common, b.Copies.infos, b.Copies.hasGaps = c.common, b.Infos, true
			b.Copies.records, b.Copies.states = gap.Of(r.records[from:to]), gap.Of(r.states[from:to])
		}
		from = to
	}
	return done.flush()
}

// reserve makes room for the active copies, and sets the ends of the parts to their
// beginnings.
func (r *Router) reserve(states []copyState, branches []Branch) {
	r.ends = append(r.ends[:0], make([]int, len(branches))...)
	for i := range states {
		if s := &states[i]; s.flag.isActive() && branches[s.branch].Copies != nil {
			r.ends[s.branch]++
		}
	}
	n := 0
	for i, size := range r.ends {
		r.ends[i] = n
		n += size
	}
	r.records, r.states = r.recordMemory.Take(n)[:n], r.stateMemory.Take(n)[:n]
}

// Clear forgets the copies of the branches and keeps the memory for the next ones.
func (r *Router) Clear() {
	r.recordMemory.Put(r.records)
	r.stateMemory.Put(r.states)
	r.records, r.states = nil, nil
}
