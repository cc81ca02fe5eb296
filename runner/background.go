package runner

import (
	"context"
	"fmt"
	"sync"

	"github.com/conduitio/funnel"
)

// background receives from the connectors' channels of background errors, from when the
// connectors are open until they are closed. The first error of a channel ends the workers.
// Later errors are received and dropped: a connector may block until they are received, and
// its teardown may wait for that.
type background struct {
	run  *run
	quit chan struct{} // closed when the connectors are closed
	wg   sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// listen begins to receive.
func (r *run) listen(channels []*channel) *background {
	b := &background{run: r, quit: make(chan struct{})}
	for _, c := range channels {
		b.wg.Go(func() { b.receive(c) })
	}
	return b
}

// end stops receiving, after it has received what the channels hold.
func (b *background) end() {
	close(b.quit)
	b.wg.Wait()
}

// err returns the errors so far, joined.
func (b *background) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return join(b.errs...)
}

func (b *background) receive(c *channel) {
	for {
		select {
		case err, ok := <-c.errors:
			if !ok { // closed: no more errors follow
				return
			}
			b.hear(c, err)
		case <-b.quit:
			for range cap(c.errors) + 1 { // a connector may never cease to send
				select {
				case err, ok := <-c.errors:
					if !ok {
						return
					}
					b.hear(c, err)
				default:
					return
				}
			}
			return
		}
	}
}

func (b *background) hear(c *channel, err error) {
	if err == nil || c.failed {
		return
	}
	if b.run.isEnding() && saysOnly(err, context.Canceled) {
		return // the run ends, and so does the connector's work in the background
	}
	c.failed = true
	b.fail(c, c.wrap(err))
}

// fail ends the workers, with err as the cause.
func (b *background) fail(c *channel, err error) {
	b.mu.Lock()
	b.errs = append(b.errs, err)
	b.mu.Unlock()
	for _, m := range c.members {
		m.cancel(err)
	}
	b.run.windUp(err)
}

// channel is a channel of background errors of a connector.
type channel struct {
	errors  <-chan error
	members []*member // the workers with the connector
	wrap    func(error) error
	failed  bool // an error was received
}

// findChannels returns the channels of all connectors that are open, each once. A connector
// may return another channel after each opening, so it is asked after it was opened. Then the
// source is also asked whether it is Lagging.
func (r *run) findChannels() ([]*channel, error) {
	var all []*channel
	known := make(map[<-chan error]*channel)
	add := func(m *member, get func() <-chan error, wrap func(error) error) error {
		var c <-chan error
		if err := call(func() error { c = get(); return nil }); err != nil {
			return m.wrap("failed to get the channel of a connector's errors", wrap(err))
		}
		switch k := known[c]; {
		case c == nil:
		case k != nil:
			k.members = append(k.members, m)
		default:
			known[c] = &channel{errors: c, members: []*member{m}, wrap: func(err error) error {
				return m.wrap("an error in the background", wrap(err))
			}}
			all = append(all, known[c])
		}
		return nil
	}
	for _, m := range r.members {
		if !m.isOpen {
			continue
		}
		m.doing.set(m.index, "asking for the errors of its connectors")
		w := m.worker
		m.lagging = laggingOf(w.Source)
		first := true
		for node := range w.FirstTask.TaskNodes() {
			get := w.Source.Errors
			if !first {
				t, ok := node.Task.(interface{ Errors() <-chan error })
				if !ok {
					continue
				}
				get = t.Errors
			}
			first = false
			id := idOf(node.Task)
			wrap := func(err error) error { return &funnel.TaskError{TaskID: id, Err: err} }
			if err := add(m, get, wrap); err != nil {
				return all, err
			}
		}
		if q := w.DLQ; q != nil {
			id := "(unknown)"
			_ = call(func() error { id = q.ID(); return nil })
			wrap := func(err error) error { return fmt.Errorf("dead-letter queue %q: %w", id, err) }
			if err := add(m, q.Errors, wrap); err != nil {
				return all, err
			}
		}
		m.doing.clear()
	}
	return all, nil
}
