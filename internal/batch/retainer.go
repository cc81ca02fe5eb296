package batch

import "github.com/conduitio/funnel/internal/ledger"

// retainer adds copies to a ledger, one call for each run of adjacent source records
// that get equally many.
type retainer struct {
	ledger   *ledger.Ledger[NackedRecord]
	from, to int // the run that was not added yet
	copies   int // for each of its records
}

// add adds copies of a source record, which comes after those before.
func (r *retainer) add(slot, copies int) {
	if slot != r.to || copies != r.copies {
		r.flush()
		r.from, r.copies = slot, copies
	}
	r.to = slot + 1
}

// flush adds what was not added yet.
func (r *retainer) flush() {
	if r.from == r.to {
		return
	}
	// It fails if a record is settled already. Then its pieces cannot be settled
	// either, and that is where the caller learns of it.
	_ = r.ledger.Retain(r.from, r.to, r.copies)
	r.from = r.to
}
