package otel

import "go.opentelemetry.io/otel/attribute"

// The attributes for which the semantic conventions have no name. The documentation of the
// package says which spans and events have them.
const (
	PipelineKey = attribute.Key("funnel.pipeline") // name of the pipeline
	TaskKey     = attribute.Key("funnel.task.id")  // ID of a task

	InKey       = attribute.Key("funnel.records.in")       // active records before a call of a task
	OutKey      = attribute.Key("funnel.records.out")      // active records that go on
	AddedKey    = attribute.Key("funnel.records.added")    // pieces beyond the first of each split
	FilteredKey = attribute.Key("funnel.records.filtered") // filtered records
	NackedKey   = attribute.Key("funnel.records.nacked")   // nacked records
	RetriedKey  = attribute.Key("funnel.records.retried")  // records that a task gets again

	AckedKey        = attribute.Key("funnel.records.acked")          // source records that the source has acked
	DeadLetteredKey = attribute.Key("funnel.records.dead_lettered")  // source records in the dead-letter queue
	DeadLettersKey  = attribute.Key("funnel.dead_letters")           // dead letters in a write
	ConfirmedKey    = attribute.Key("funnel.dead_letters.confirmed") // dead letters that the queue has confirmed

	PartsKey        = attribute.Key("funnel.batch.parts")   // parts of a divided batch
	OmittedLinksKey = attribute.Key("funnel.links.omitted") // records whose traces are not linked
)
