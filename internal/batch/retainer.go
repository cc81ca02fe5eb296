package batch

import "github.com/conduitio/funnel/internal/ledger"

// retainer adds copies to a ledger with one call for each run of adjacent source
// records that get equally many.
type retainer struct {
	ledger   *ledger.Ledger[NackedRecord]
	from, to int // the run still to be added
	copies   int // for each of its records
}

// add adds copies of a source record. Slots must be passed in ascending order.
func (r *retainer) add(slot, copies int) {
	if slot != r.to || copies != r.copies {
		r.flush()
		r.from, r.copies = slot, copies
	}
	r.to = slot + 1
}

// flush adds the current run to the ledger.
func (r *retainer) flush() {
	if r.from == r.to {
		return
	}
	// This fails if a record of the run is already settled. Then settling its pieces
	// fails, too, and tells the caller.
	_ = r.ledger.Retain(r.from, r.to, r.copies)
	r.from = r.to
}
