package batch

import "github.com/conduitio/conduit-commons/opencdc"

// Version is a version of a source record: how far it had come.
type Version int8

// The versions.
const (
	AsGiven     Version = iota // as the task that nacked it was given it
	BeforeSplit                // before it was split, since one of its pieces was nacked
	AsRead                     // as it was read
)

// KeepRead keeps the source records as they are now: nacked records then have this
// version. The copies become shared, so that no task changes what they hold. They must be
// all copies of the source batch, as the first task has left them.
func (c *Copies) KeepRead() {
	s := c.source
	n := len(s.Positions)
	s.asRead = s.asReadMemory.Take(n)[:n]
	if c.IsAsRead() {
		copy(s.asRead, c.records.All())
	} else {
		_ = c.eachCopy(func(state *copyState, record *opencdc.Record) error {
			if original := c.infos.of(state).original; original != nil {
				record = original
			}
			if record != nil { // a record that is filtered as a whole is never nacked
				s.asRead[state.slot] = *record
			}
			return nil
		})
	}
	c.Share()
}
