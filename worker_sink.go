package funnel

import "context"

// A walk enters a sink at the node before the roots, and leaves it when everything that
// has entered is done: with several roots, after the fan-out; with one root, when the
// step that has entered and all steps that came from it are done. Meanwhile the walk
// releases nothing.

// stay says which sink a walk is in.
type stay struct {
	sink  *Sink // nil if the walk is in none
	depth int   // how many steps waited when it entered
}

// enterSink waits until the walk has the sink that follows.
func (k *walk) enterSink(ctx context.Context, sink *Sink) error {
	k.track.enter(k.node, k.worker.stats)
	k.track.isWaiting.Store(true)
	err := sink.take(ctx)
	k.track.isWaiting.Store(false)
	if err != nil {
		return err
	}
	k.stay = stay{sink: sink, depth: len(k.later)}
	return nil
}

// leaveSink gives the sink back, unless there are still steps in it.
func (k *walk) leaveSink() {
	if len(k.later) == k.stay.depth {
		k.stay.sink.give(nil)
		k.stay = stay{}
	}
}

// runInSinks is run for a walk that may enter sinks. If the walk ends in a sink by an
// error, a panic or runtime.Goexit, that sink has failed. (A branch inside a sink enters
// none. If it fails, so does the walk that has forked.)
func (k *walk) runInSinks(ctx context.Context) error {
	var failure error
	defer func() {
		sink := k.stay.sink
		if sink == nil {
			return
		}
		k.stay = stay{}
		value := recover()
		switch {
		case value != nil:
			failure = newPanicError(value)
		case failure == nil:
			failure = k.taskError(ErrGoexit)
		}
		sink.give(failure)
		if value != nil {
			panic(value)
		}
	}()
	err := k.runSteps(ctx)
	if err != nil {
		failure = withContextError(ctx, err) // other workers cannot ask this context for its cause
	}
	return err
}
