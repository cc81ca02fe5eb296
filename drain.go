package funnel

import "context"

// WithDrain lets [Worker.Stop] and [Worker.Close] wait until everything that was read
// ahead is processed, instead of dropping it to be read again: they begin no more reads,
// let the worker process what has arrived, and then tear the source down. A read that is
// pending stays pending until then, and what it returns meanwhile is processed. If the
// context of Stop ends first, Stop returns its error and reading goes on.
//
// Stopping takes longer for it: up to the time for all records that wait, see
// [WithReadAhead]. [NewWorker] returns an error without that option, since nothing else
// is to be drained.
func WithDrain() WorkerOption {
	return workerOption(func(o *options) error {
		o.drain = true
		return nil
	})
}

// closeGate waits until the batch in flight is done and, if the worker drains, those
// that were read ahead. From then on no batch is processed. If the context ends first,
// the worker runs on.
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

// drain begins no more reads and waits until no arrivals are left, or until the worker
// takes no more. If the context ends first, reading goes on.
func (p *prefetcher) drain(ctx context.Context) error {
	p.mu.Lock()
	p.isDraining = true
	select {
	case <-p.idle: // of an earlier call that has given up
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

// isHeld returns true if no read may begin because the worker drains. The read that says
// why the source's stream has closed may. The caller holds the lock.
func (p *prefetcher) isHeld() bool { return p.isDraining && !p.wantsReason }
