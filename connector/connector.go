// Package connector holds the types that the engine and connectors share: the kinds of
// connectors, and the acks of a destination.
package connector

import (
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Type is the type of a connector: source or destination.
type Type int

// The types of connectors. The zero Type is neither.
const (
	TypeSource Type = iota + 1
	TypeDestination
)

// String returns "source" or "destination", as metrics and logs show it.
func (t Type) String() string {
	switch t {
	case TypeSource:
		return "source"
	case TypeDestination:
		return "destination"
	default:
		return fmt.Sprintf("Type(%d)", int(t))
	}
}

// DestinationAck is a destination's answer for one record.
type DestinationAck struct {
	// Position is the position of the record as it was written.
	Position opencdc.Position
	// Error is nil if the record is safely stored. Otherwise it says why not, and the
	// record is nacked with it.
	Error error
}
