package position

import (
	"context"
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"
)

var (
	// ErrClaimed means that the position of the source is claimed already, in this process
	// or in another one.
	ErrClaimed = errors.New("the position is claimed already")
	// ErrFenced means that a claim no longer holds: it was released or taken over, or what
	// it stored was removed or replaced. It never holds again.
	ErrFenced = errors.New("the claim no longer holds")
	// ErrDamaged means that what is stored for a source is not what a store has written
	// for it: it is damaged, or belongs to another source, or to another program. The
	// position is not known, and a start without one might skip or repeat records. The
	// error is fatal, see [funnel.IsFatalError].
	ErrDamaged = errors.New("the stored position cannot be used")
	// ErrEmpty means that Save was given an empty position, which would wipe the stored
	// one.
	ErrEmpty = errors.New("empty position")
)

// Store keeps the positions of sources, each under the ID of the source. Its methods can be
// called concurrently.
type Store interface {
	// Claim claims the position of a source for the caller alone. It does not wait: during
	// another claim it returns an error that wraps [ErrClaimed]. Any ID will do, even an
	// empty one.
	Claim(ctx context.Context, id string) (Claim, error)
}

// Claim is the right to load and save the position of one source. One goroutine at a time
// calls its methods. After Release, and after another claim has taken its place, Load and
// Save return an error that wraps [ErrFenced].
type Claim interface {
	// Load returns the position that was saved last, or nil if none was ever saved. The
	// caller owns the result.
	Load(context.Context) (opencdc.Position, error)
	// Save replaces the position, which must not be empty. When it returns nil, the
	// position is as durable as the store makes it. If it fails, the position may have been
	// replaced or not; Save can be called again. Save does not keep p.
	Save(ctx context.Context, p opencdc.Position) error
	// Release gives the claim back. If it fails, it can be called again. After it has
	// succeeded it does nothing.
	Release(context.Context) error
}
