package main

import (
	"fmt"
	"sync/atomic"
)

// peer is a running pipeline of a library.
type peer interface {
	// run moves this many batches. It returns nil once the source knows of every ack,
	// and an error as soon as a record is not accepted.
	run(batches int) error
	// acked returns the number of records whose ack the source knows of.
	acked() int
	// close stops the pipeline and waits until it has ended.
	close() error
}

// work is the job of a peer: read batches from a source, write them to every
// destination, and ack them to the source. Source and destinations cost next to
// nothing.
type work struct {
	batch        int      // records per batch
	payloads     [][]byte // payloads of one or more batches, which the source returns in turn
	destinations []*destination
}

// newWork returns the work of moving this many different batches in turn.
func newWork(batch, batches, destinations int) *work {
	w := &work{batch: batch, payloads: make([][]byte, batch*batches)}
	for i := range w.payloads {
		w.payloads[i] = fmt.Appendf(nil, "%064d", i)
	}
	for range destinations {
		w.destinations = append(w.destinations, &destination{})
	}
	return w
}

// check returns an error unless a peer has moved this many batches and acked them all.
func (w *work) check(p peer, batches int) error {
	want := batches * w.batch
	if n := p.acked(); n != want {
		return fmt.Errorf("%d of %d records were acked", n, want)
	}
	for i, d := range w.destinations {
		if n := d.records.Load(); n != int64(want) {
			return fmt.Errorf("destination %d got %d of %d records", i, n, want)
		}
	}
	return nil
}

// destination counts the records that are written to it.
type destination struct {
	records atomic.Int64
	look    func(payload []byte) error // if not nil, sees every payload and may refuse it
}
