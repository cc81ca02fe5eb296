package funnel

import "context"

// WithDrain makes [Worker.Stop] and [Worker.Close] wait until all records that were read
// ahead are processed, instead of dropping them, to be read again after a restart. No
// more reads begin, the worker processes what has arrived, and then the source is torn
// down. A pending read stays pending until then. What it returns meanwhile is processed;
// what it returns afterwards is dropped unacked. If the context of Stop ends first, Stop
// returns an error that wraps the context's, and reading goes on.
//
// Stopping takes longer: up to the time that all waiting records need, see
// [WithReadAhead]. [NewWorker] returns an error if WithReadAhead is not given, since
// there is nothing to drain then.
func WithDrain() WorkerOption {
	return workerOption(func(o *options) error {
		o.drain = true
		return nil
	})
}

// closeGate waits until the batch in flight is done and, if the worker drains, everything
// that was read ahead. From then on no batch is processed. If the context ends first, the
// worker runs on.
func (w *Worker) closeGate(ctx context.Context) error {
	drains := w.drain && w.hasBegun && w.isRunning()
	if drains {
		if err := w.prefetcher.drain(ctx); err != nil {
			return w.giveUp(err)
		}
	}
	err := w.gate.Close(ctx)
	if drains {
		w.prefetcher.endDrain()
	}
	return w.giveUp(err)
}

// drain holds back new reads and waits until no arrivals are left, or until the worker
// takes no more. If the context ends first, reading goes on.
func (p *prefetcher) drain(ctx context.Context) error {
	p.mu.Lock()
	p.isDraining = true
	select {
	case <-p.idle: // a leftover of an earlier call that gave up
	default:
	}
	p.mu.Unlock()
	signal(p.ready) // so that take looks again
	select {
	case <-p.idle:
	case <-p.over:
	case <-ctx.Done():
		p.endDrain()
		return ctx.Err()
	}
	return nil
}

// endDrain lets reads begin again, unless the gate is closed.
func (p *prefetcher) endDrain() {
	p.mu.Lock()
	p.isDraining = false
	p.mu.Unlock()
	signal(p.room)
}

// mayRead returns true if a read that is about to begin may do so. Otherwise it must
// wait.
func (p *prefetcher) mayRead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isHeld() {
		p.state = prefetchWaiting
		return false
	}
	return true
}

// isHeld returns true if no read may begin because the worker drains. The read that tells
// why the source's stream has closed is exempt. The caller holds the lock.
func (p *prefetcher) isHeld() bool { return p.isDraining && !p.wantsReason }
