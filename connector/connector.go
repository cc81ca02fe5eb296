// Package connector holds the words that the engine and a connector share:
// which kind of connector something is, and how a destination confirms what
// it has written.
package connector

import (
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Type tells a source from a destination.
type Type int

// The types of connectors. The zero Type is none of them.
const (
	TypeSource Type = iota + 1
	TypeDestination
)

// String returns "source" or "destination", the form in which metrics and
// logs show a type.
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

// DestinationAck is a destination's word on one record that it was given.
type DestinationAck struct {
	// Position is the position of the record, as it was written.
	Position opencdc.Position
	// Error is nil if the record is safely stored, else the reason why it is
	// not: the record is nacked with it.
	Error error
}
