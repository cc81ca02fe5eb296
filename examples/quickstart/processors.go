package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// processor makes a funnel.Processor from a function that handles one record. It counts
// the records that the function filters and adds by splitting.
type processor struct {
	handle          func(opencdc.Record) sdk.ProcessedRecord
	filtered, added int
}

func (p *processor) Open(context.Context) error     { return nil }
func (p *processor) Teardown(context.Context) error { return nil }

// Process returns one result for each record, in order.
func (p *processor) Process(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(recs))
	for i, rec := range recs {
		results[i] = p.handle(rec)
		switch result := results[i].(type) {
		case sdk.FilterRecord:
			p.filtered++
		case sdk.MultiRecord:
			p.added += len(result) - 1
		}
	}
	return results
}

// validate refuses reports that cannot be right. They go to the dead-letter queue
// unchanged, with the reason.
func validate(rec opencdc.Record) sdk.ProcessedRecord {
	report := rec.Payload.After.(opencdc.StructuredData)
	damage, phase := report["Effect Amount of damage"], report["Phase of flight"]
	speed, repair, other := number(report["Speed IAS in knots"]), number(report["Cost Repair"]), number(report["Cost Other"])
	flying := phase == "Climb" || phase == "Descent" || phase == "Approach"

	switch {
	case !isDate(report["Flight Date"]):
		return refuse("no valid date")
	case repair < 0, other < 0, speed < 0 && report["Speed IAS in knots"] != "":
		return refuse("a speed or cost that is no number")
	case damage != "None" && damage != "Minor" && damage != "Medium" && damage != "Substantial":
		return refuse("unknown damage code")
	case damage == "None" && repair > 0:
		return refuse("repaired without damage")
	case flying && speed == 0:
		return refuse("flying at 0 knots")
	case phase == "Taxi" && speed > 60:
		return refuse("taxiing faster than 60 knots")
	}
	return sdk.SingleRecord(rec)
}

func refuse(reason string) sdk.ProcessedRecord {
	return sdk.ErrorRecord{Error: errors.New(reason)}
}

// strikeColumns are the fields that normalise gives a report.
var strikeColumns = []string{
	"date", "time_of_day", "airport", "state", "operator", "aircraft", "phase", "speed_knots",
	"species", "size", "damage", "repair_dollars", "other_dollars",
}

// normalise gives the fields of a valid report short names and proper types. Unknown
// values become nil.
func normalise(rec opencdc.Record) sdk.ProcessedRecord {
	report := rec.Payload.After.(opencdc.StructuredData)
	strike := opencdc.StructuredData{
		"date":           report["Flight Date"],
		"time_of_day":    clean(report["Time of day"]),
		"airport":        clean(report["Airport Name"]),
		"state":          clean(report["Origin State"]),
		"operator":       clean(report["Aircraft Airline Operator"]),
		"aircraft":       clean(report["Aircraft Make Model"]),
		"phase":          clean(report["Phase of flight"]),
		"species":        clean(report["Wildlife Species"]),
		"size":           clean(report["Wildlife Size"]),
		"damage":         clean(report["Effect Amount of damage"]),
		"repair_dollars": number(report["Cost Repair"]),
		"other_dollars":  number(report["Cost Other"]),
	}
	if speed := number(report["Speed IAS in knots"]); speed >= 0 {
		strike["speed_knots"] = speed
	}
	rec.Payload.After = strike
	return sdk.SingleRecord(rec)
}

// splitCosts splits a strike into one record for each of its costs, and filters strikes
// without costs.
func splitCosts(rec opencdc.Record) sdk.ProcessedRecord {
	strike := rec.Payload.After.(opencdc.StructuredData)
	var costs sdk.MultiRecord
	for _, kind := range []string{"repair", "other"} {
		dollars := strike[kind+"_dollars"].(int)
		if dollars == 0 {
			continue
		}
		cost := rec.Clone() // the pieces of a split share no maps
		cost.Payload.After = opencdc.StructuredData{
			"date": strike["date"], "airport": strike["airport"], "operator": strike["operator"],
			"species": strike["species"], "cost": kind, "dollars": dollars,
		}
		costs = append(costs, cost)
	}
	if len(costs) == 0 {
		return sdk.FilterRecord{}
	}
	return costs
}

func isDate(value any) bool {
	text, _ := value.(string)
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}

// number parses a number. It returns -1 for text that is none.
func number(value any) int {
	text, _ := value.(string)
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// clean removes extra blanks and the asterisk of a footnote. It returns nil if the
// value is unknown.
func clean(value any) any {
	text, _ := value.(string)
	text = strings.TrimSuffix(strings.Join(strings.Fields(text), " "), "*")
	if text == "" || strings.HasPrefix(strings.ToLower(text), "unknown") {
		return nil
	}
	return text
}
