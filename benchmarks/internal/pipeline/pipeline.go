// Package pipeline runs the same pipeline in two ways: in a hand-written loop and in
// the engine.
package pipeline

import (
	"fmt"

	"github.com/conduitio/funnel"
)

// SourceID and DLQID are the IDs of the source task and the dead-letter queue.
const (
	SourceID = "source"
	DLQID    = "dlq"
)

// Pipeline takes records from a source through the processors, one after the other, to
// all destinations.
type Pipeline struct {
	Source       funnel.Source
	Processors   []funnel.Processor
	Destinations []funnel.Destination
	DLQ          funnel.Destination // nil if there is none
}

// ProcessorID returns the task ID of a processor.
func ProcessorID(i int) string {
	return fmt.Sprintf("processor-%d", i)
}

// DestinationID returns the task ID of a destination.
func DestinationID(i int) string {
	return fmt.Sprintf("destination-%d", i)
}
