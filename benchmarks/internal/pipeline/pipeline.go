// Package pipeline runs the same pipeline in two ways: by a hand-written loop
// and by the engine.
package pipeline

import (
	"fmt"

	"github.com/conduitio/funnel"
)

// SourceID and DLQID are the IDs of the tasks that every pipeline has one of.
const (
	SourceID = "source"
	DLQID    = "dlq"
)

// Pipeline takes records from a source through the processors, one after the
// other, to all of the destinations.
type Pipeline struct {
	Source       funnel.Source
	Processors   []funnel.Processor
	Destinations []funnel.Destination
	DLQ          funnel.Destination // nil if there is none
}

// ProcessorID returns the ID of the task of a processor.
func ProcessorID(i int) string {
	return fmt.Sprintf("processor-%d", i)
}

// DestinationID returns the ID of the task of a destination.
func DestinationID(i int) string {
	return fmt.Sprintf("destination-%d", i)
}
