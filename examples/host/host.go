// Package host is a small runtime that runs data pipelines on funnel, as Conduit is a
// large one. It is a module of its own, so it uses only the public API of funnel. The
// code in this file belongs to the host and does not know funnel; glue.go connects the
// two.
package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"
)

// Ack is how the host's destinations confirm a record.
type Ack struct {
	Position opencdc.Position
	Error    error
}

// Source is a source of the host.
type Source interface {
	ID() string
	Open(context.Context) error
	Read(context.Context) ([]opencdc.Record, error)
	Ack(context.Context, []opencdc.Position) error
	Teardown(context.Context) error
	Errors() <-chan error
}

// Destination is a destination of the host.
type Destination interface {
	ID() string
	Open(context.Context) error
	Write(context.Context, []opencdc.Record) error
	Ack(context.Context) ([]Ack, error)
	Teardown(context.Context) error
	Errors() <-chan error
}

// Logger is the host's logger.
type Logger struct {
	zerolog.Logger
	Component string
}

// Fatal marks an error after which the host does not restart a pipeline.
func Fatal(err error) error { return &fatalError{err} }

// IsFatal returns true if an error is marked.
func IsFatal(err error) bool {
	var fatal *fatalError
	return errors.As(err, &fatal)
}

type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

// Metrics are what the host measures about its connectors.
type Metrics struct {
	Time  Timer
	Bytes Histogram
}

// Timer adds up times.
type Timer struct {
	mu    sync.Mutex
	count int
	total time.Duration
}

// Update adds a time.
func (t *Timer) Update(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	t.total += d
}

// UpdateSince adds the time since start.
func (t *Timer) UpdateSince(start time.Time) { t.Update(time.Since(start)) }

// Count returns the number of times.
func (t *Timer) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// Histogram adds up values.
type Histogram struct {
	mu    sync.Mutex
	total float64
}

// Observe adds a value.
func (h *Histogram) Observe(v float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total += v
}

// Total returns the sum of the values.
func (h *Histogram) Total() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}

// Pipeline leads from every source to every destination. Records that fail go to Dead.
type Pipeline struct {
	Sources      []Source
	Destinations []Destination
	Dead         func() Destination
	Logger       Logger
	Metrics      *Metrics
}
