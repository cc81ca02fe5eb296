package batch

import "github.com/conduitio/funnel/internal/ledger"

// runs retains or settles copies of source records in a ledger, with one call for each
// run of adjacent source records that have the same number of copies.
type runs struct {
	ledger   *ledger.Ledger[NackedRecord]
	isSettle bool
	from, to int // the current run
	copies   int // of each of its records
	err      error
}

// add adds copies of a source record. Slots must be passed in ascending order; a slot
// may be passed several times.
func (r *runs) add(slot, copies int) {
	if slot != r.to || copies != r.copies {
		_ = r.flush()
		r.from, r.copies = slot, copies
	}
	r.to = slot + 1
}

// flush retains or settles the current run. It returns the first error of the ledger.
func (r *runs) flush() error {
	if r.from == r.to {
		return r.err
	}
	do := r.ledger.Retain
	if r.isSettle {
		do = r.ledger.Settle
	}
	if err := do(r.from, r.to, r.copies); r.err == nil {
		r.err = err
	}
	r.from = r.to
	return r.err
}
