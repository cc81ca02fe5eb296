package position

import (
	"context"
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"
)

var (
	// ErrClaimed means that the position of the source is already claimed, in this process or
	// in another one.
	ErrClaimed = errors.New("the position is claimed already")
	// ErrFenced means that a claim no longer holds, and never will again: it was released or
	// taken over, or its stored position was removed or replaced.
	ErrFenced = errors.New("the claim no longer holds")
	// ErrDamaged means that the stored position is damaged, or was written for another source
	// or by another program. The position is not known, and a start without one might skip or
	// repeat records. The error is fatal, see [funnel.IsFatalError].
	ErrDamaged = errors.New("the stored position cannot be used")
	// ErrEmpty means that Save was given an empty position, which would wipe the stored one.
	ErrEmpty = errors.New("empty position")
)

// Store keeps the positions of sources, each under the ID of its source. Its methods can be
// called concurrently. Its errors, and those of its claims, need not name the source: [Track]
// does.
type Store interface {
	// Claim claims the position of a source for the caller alone. It does not wait: if the
	// position is already claimed, it returns an error that wraps [ErrClaimed]. An empty
	// ID is valid. A store may refuse IDs that are too long.
	Claim(ctx context.Context, id string) (Claim, error)
}

// Claim is the exclusive right to load and save the position of one source. One goroutine at
// a time calls its methods. After Release, or once another claim has taken its place, Load
// and Save return an error that wraps [ErrFenced].
type Claim interface {
	// Load returns the last saved position, or nil if none was ever saved. The caller owns
	// the result.
	Load(context.Context) (opencdc.Position, error)
	// Save replaces the position. p must not be empty, and Save does not keep it. When Save
	// returns nil, the position is as durable as the store makes it. If Save fails, the
	// position may or may not have been replaced, and Save can be called again.
	Save(ctx context.Context, p opencdc.Position) error
	// Release ends the claim, so that the position can be claimed again. If it fails, it can
	// be called again. Once it has succeeded, further calls do nothing.
	Release(context.Context) error
}
