package position

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Memory is a [Store] in memory. It is for tests, and for pipelines that begin anew with each
// run of the program. [NewMemory] makes one.
type Memory struct {
	mu        sync.Mutex
	positions map[string]opencdc.Position
	claims    map[string]*memoryClaim
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{positions: make(map[string]opencdc.Position), claims: make(map[string]*memoryClaim)}
}

// Claim implements [Store].
func (m *Memory) Claim(ctx context.Context, id string) (Claim, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[id] != nil {
		return nil, ErrClaimed
	}
	c := &memoryClaim{store: m, id: id}
	m.claims[id] = c
	return c, nil
}

type memoryClaim struct {
	store *Memory
	id    string
}

// check returns an error if the context has ended or the claim was released. The caller
// holds the lock.
func (c *memoryClaim) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.store.claims[c.id] != c {
		return fmt.Errorf("%w: it was released", ErrFenced)
	}
	return nil
}

func (c *memoryClaim) Load(ctx context.Context) (opencdc.Position, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	return bytes.Clone(c.store.positions[c.id]), nil
}

func (c *memoryClaim) Save(ctx context.Context, p opencdc.Position) error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if err := c.check(ctx); err != nil {
		return err
	}
	if len(p) == 0 {
		return ErrEmpty
	}
	c.store.positions[c.id] = bytes.Clone(p)
	return nil
}

func (c *memoryClaim) Release(context.Context) error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if c.store.claims[c.id] == c {
		delete(c.store.claims, c.id)
	}
	return nil
}
