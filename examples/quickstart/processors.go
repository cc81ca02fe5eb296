package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// validate refuses reports that cannot be right. They go to the dead-letter queue unchanged, with the reason.
func validate(rec opencdc.Record) (opencdc.Record, error) {
	report, ok := rec.Payload.After.(opencdc.StructuredData)
	if !ok {
		return rec, fmt.Errorf("not a row: %s", rec.Metadata[file.MetadataError])
	}
	damage, repair, other := report["Effect Amount of damage"], number(report["Cost Repair"]), number(report["Cost Other"])
	phase, speed := report["Phase of flight"], number(report["Speed IAS in knots"])
	_, badDate := time.Parse(time.DateOnly, fmt.Sprint(report["Flight Date"]))
	switch {
	case badDate != nil:
		return rec, errors.New("no valid date")
	case repair == nil, other == nil, speed == nil && report["Speed IAS in knots"] != "":
		return rec, errors.New("a speed or cost that is no number")
	case damage != "None" && damage != "Minor" && damage != "Medium" && damage != "Substantial":
		return rec, errors.New("unknown damage code")
	case damage == "None" && repair != 0:
		return rec, errors.New("repaired without damage")
	case speed == 0 && (phase == "Climb" || phase == "Descent" || phase == "Approach"):
		return rec, errors.New("flying at 0 knots")
	case phase == "Taxi" && speed != nil && speed.(int) > 60:
		return rec, errors.New("taxiing faster than 60 knots")
	}
	return rec, nil
}

// strikeColumns are the fields that normalise gives a report.
var strikeColumns = []string{
	"date", "time_of_day", "airport", "state", "operator", "aircraft", "phase", "speed_knots",
	"species", "size", "damage", "repair_dollars", "other_dollars",
}

// normalise gives the fields of a valid report short names and proper types. Unknown values become nil.
func normalise(rec opencdc.Record) (opencdc.Record, error) {
	report := rec.Payload.After.(opencdc.StructuredData)
	rec.Payload.After = opencdc.StructuredData{
		"date":           report["Flight Date"],
		"time_of_day":    clean(report["Time of day"]),
		"airport":        clean(report["Airport Name"]),
		"state":          clean(report["Origin State"]),
		"operator":       clean(report["Aircraft Airline Operator"]),
		"aircraft":       clean(report["Aircraft Make Model"]),
		"phase":          clean(report["Phase of flight"]),
		"speed_knots":    number(report["Speed IAS in knots"]),
		"species":        clean(report["Wildlife Species"]),
		"size":           clean(report["Wildlife Size"]),
		"damage":         clean(report["Effect Amount of damage"]),
		"repair_dollars": number(report["Cost Repair"]),
		"other_dollars":  number(report["Cost Other"]),
	}
	return rec, nil
}

// splitCosts makes a record of each cost of a strike, and counts how many this adds. A strike without costs is filtered.
func (s *summary) splitCosts(rec opencdc.Record) (costs []opencdc.Record, err error) {
	strike := rec.Payload.After.(opencdc.StructuredData)
	for _, kind := range []string{"repair", "other"} {
		if dollars := strike[kind+"_dollars"]; dollars != 0 {
			rec.Payload.After = opencdc.StructuredData{
				"date": strike["date"], "airport": strike["airport"], "operator": strike["operator"],
				"species": strike["species"], "cost": kind, "dollars": dollars,
			}
			costs = append(costs, rec)
		}
	}
	s.added += max(len(costs)-1, 0)
	return costs, nil
}

// number parses a number of at least 0. It returns nil if the value is not one.
func number(value any) any {
	if n, err := strconv.Atoi(fmt.Sprint(value)); err == nil && n >= 0 {
		return n
	}
	return nil
}

// clean removes extra blanks and the asterisk of a footnote. It returns nil if the value is unknown.
func clean(value any) any {
	text, _ := value.(string)
	text = strings.TrimSuffix(strings.Join(strings.Fields(text), " "), "*")
	if text == "" || strings.HasPrefix(strings.ToLower(text), "unknown") {
		return nil
	}
	return text
}
