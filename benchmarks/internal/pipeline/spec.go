package pipeline

import (
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/connector"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
)

// ErrRefused is the error of refused records.
var ErrRefused = errors.New("refused")

// Spec describes a pipeline of fakes.
type Spec struct {
	Sizes        []int // records per batch, in turn
	Payload      fake.Payload
	Process      []Step // what each processor does
	Destinations int
	AcksPerCall  int // of the destinations; 0 means all that are due
	Refuse       int // percent of records that destinations refuse, evenly spread
	HasDLQ       bool
}

// Step is what a processor does with the record at index i of a batch.
type Step func(i int, record opencdc.Record) sdk.ProcessedRecord

// PassThrough returns the record as it is.
func PassThrough(_ int, record opencdc.Record) sdk.ProcessedRecord {
	return sdk.SingleRecord(record)
}

// FilterOdd filters every second record.
func FilterOdd(i int, record opencdc.Record) sdk.ProcessedRecord {
	if i%2 == 1 {
		return sdk.FilterRecord{}
	}
	return sdk.SingleRecord(record)
}

// SplitInTwo splits each record in two.
func SplitInTwo(_ int, record opencdc.Record) sdk.ProcessedRecord {
	pieces := sdk.MultiRecord{record, record}
	for i, suffix := range []string{"/0", "/1"} {
		pieces[i].Position = opencdc.Position(string(record.Position) + suffix)
	}
	return pieces
}

// FailPercent fails percent of 100 records, evenly spread.
func FailPercent(percent int) Step {
	return func(i int, record opencdc.Record) sdk.ProcessedRecord {
		if isAmong(i, percent) {
			return sdk.ErrorRecord{Error: ErrRefused}
		}
		return sdk.SingleRecord(record)
	}
}

// isAmong picks percent of 100 indices, evenly spread.
func isAmong(i, percent int) bool {
	return i*percent%100+percent >= 100
}

// Records returns the number of different records.
func (s Spec) Records() int {
	n := 0
	for _, size := range s.Sizes {
		n += size
	}
	return n
}

// Build prepares the fakes of a pipeline. Its source waits at the gate.
func (s Spec) Build(gate *fake.Gate) *Pipeline {
	records := fake.Records(s.Records(), s.Payload)
	p := &Pipeline{Source: fake.NewSource(gate, records, s.Sizes, len(s.Process) > 0 || s.Refuse > 0)}
	var dead []opencdc.Record
	for _, step := range s.Process {
		results := make([]sdk.ProcessedRecord, len(records))
		var next []opencdc.Record
		for i, record := range records {
			results[i] = step(i, record)
			switch result := results[i].(type) {
			case sdk.SingleRecord:
				next = append(next, opencdc.Record(result))
			case sdk.MultiRecord:
				next = append(next, result...)
			case sdk.ErrorRecord:
				dead = append(dead, record)
			}
		}
		p.Processors = append(p.Processors, fake.NewProcessor(results))
		records = next
	}
	acks := acksOf(records)
	for i := range acks {
		if isAmong(i, s.Refuse) {
			acks[i].Error = ErrRefused
			dead = append(dead, records[i])
		}
	}
	for range s.Destinations {
		p.Destinations = append(p.Destinations, fake.NewDestination(acks, s.AcksPerCall))
	}
	if s.HasDLQ {
		p.DLQ = fake.NewDestination(acksOf(dead), 0)
	}
	return p
}

func acksOf(records []opencdc.Record) []connector.DestinationAck {
	acks := make([]connector.DestinationAck, len(records))
	for i := range records {
		acks[i].Position = records[i].Position
	}
	return acks
}
