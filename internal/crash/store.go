package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/position/bolt"
)

// openStore opens the store of the positions of a life.
func (p plan) openStore(dir string) (store position.Store, closeStore func() error, err error) {
	if p.bolt {
		s, err := bolt.Open(filepath.Join(dir, "positions.db"))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	}
	s, err := position.NewFiles(filepath.Join(dir, "positions"))
	return s, func() error { return nil }, err
}

// failingStore is a store whose saves begin to fail after a while. Some of them have
// happened all the same.
type failingStore struct {
	position.Store
	mu   sync.Mutex
	rng  *rand.Rand
	left int // saves that succeed
}

func (s *failingStore) Claim(ctx context.Context, id string) (position.Claim, error) {
	claim, err := s.Store.Claim(ctx, id)
	if err != nil {
		return nil, err
	}
	return failingClaim{claim, s}, nil
}

type failingClaim struct {
	position.Claim
	store *failingStore
}

func (c failingClaim) Save(ctx context.Context, p opencdc.Position) error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.left--
	switch {
	case c.store.left >= 0:
		return c.Claim.Save(ctx, p)
	case c.store.rng.IntN(2) == 0:
		return errors.Join(errInjected, c.Claim.Save(ctx, p))
	default:
		return errInjected
	}
}
