package main

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// watermillPeer is a router with one handler, which publishes each message to every
// destination. One message is in flight at a time: the router handles messages in
// goroutines of their own, so several would lose their order. The router puts names
// into the context of every message; the names are empty to save it the work.
type watermillPeer struct {
	router *message.Router
	source *watermillSource
	ended  chan error
}

func startWatermill(w *work) (peer, error) {
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	p := &watermillPeer{
		router: router,
		source: &watermillSource{
			payloads: w.payloads,
			batch:    w.batch,
			rounds:   make(chan int),
			finished: make(chan error),
		},
		ended: make(chan error, 1),
	}
	publishers := make([]message.Publisher, len(w.destinations))
	for i, d := range w.destinations {
		publishers[i] = watermillPublisher{d}
	}
	router.AddConsumerHandler("", "", p.source, func(m *message.Message) error {
		for _, publisher := range publishers {
			if err := publisher.Publish("", m); err != nil {
				return err
			}
		}
		return nil
	})
	go func() { p.ended <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
		return p, nil
	case err := <-p.ended:
		return nil, errors.Join(errors.New("the router has ended early"), err)
	}
}

func (p *watermillPeer) run(batches int) error {
	p.source.rounds <- batches
	return <-p.source.finished
}

func (p *watermillPeer) acked() int { return p.source.records }

func (p *watermillPeer) close() error {
	err := p.router.Close()
	return errors.Join(err, <-p.ended)
}

// watermillSource is a subscriber that sends messages in rounds.
type watermillSource struct {
	payloads [][]byte
	batch    int // messages per batch
	next     int // in payloads
	records  int // acked

	rounds   chan int   // how many batches to send
	finished chan error // the end of a round
}

// String is the name of the subscriber for the router.
func (*watermillSource) String() string { return "" }

// Subscribe starts sending.
func (s *watermillSource) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for batches := range s.rounds {
			s.finished <- s.send(out, batches*s.batch)
		}
	}()
	return out, nil
}

// Close stops sending. It must not be called during a round.
func (s *watermillSource) Close() error {
	close(s.rounds)
	return nil
}

// send sends n messages, each after the ack of the one before it.
func (s *watermillSource) send(out chan<- *message.Message, n int) error {
	for range n {
		m := message.NewMessage("", s.payloads[s.next])
		if s.next++; s.next == len(s.payloads) {
			s.next = 0
		}
		out <- m
		select {
		case <-m.Acked():
			s.records++
		case <-m.Nacked():
			return errors.New("a message was nacked")
		}
	}
	return nil
}

// watermillPublisher publishes to a destination.
type watermillPublisher struct{ destination *destination }

func (p watermillPublisher) Publish(_ string, messages ...*message.Message) error {
	if p.destination.look != nil {
		for _, m := range messages {
			if err := p.destination.look(m.Payload); err != nil {
				return err
			}
		}
	}
	p.destination.records.Add(int64(len(messages)))
	return nil
}

func (watermillPublisher) Close() error { return nil }
