package main

import (
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
)

// TestProcessors runs the processors without source and destinations.
func TestProcessors(t *testing.T) {
	s := &summary{}
	processors := funnel.Through("validate", funnel.Map(validate)).
		Through("normalise", funnel.Map(normalise)).
		Through("costs", funnel.Split(s.splitCosts))

	got := funneltest.Run(t, processors,
		report("Cost Repair", "300", "Cost Other", "50"),
		report(), // without costs
		report("Effect Amount of damage", "None", "Cost Repair", "300"),
		report("Cost Other", "70", "Wildlife Species", "UNKNOWN BIRD", "Aircraft Airline Operator", " "))

	got.WantErr(t, nil)
	got.Want(t, "out",
		`{"airport":"LOGAN","cost":"repair","date":"1990-01-31","dollars":300,"operator":"BUSINESS","species":"Mallard"}`,
		`{"airport":"LOGAN","cost":"other","date":"1990-01-31","dollars":50,"operator":"BUSINESS","species":"Mallard"}`,
		`{"airport":"LOGAN","cost":"other","date":"1990-01-31","dollars":70,"operator":null,"species":null}`)
	got.WantDeadLetters(t, "repaired without damage")
	if s.added != 1 {
		t.Errorf("%d costs were added, want 1", s.added)
	}
}

// TestValidate checks each reason to refuse a report, and reports that are just valid.
func TestValidate(t *testing.T) {
	for _, test := range []struct {
		reason string // empty if the report is valid
		fields []string
	}{
		{"", nil},
		{"no valid date", []string{"Flight Date", "1990-02-30"}},
		{"a speed or cost that is no number", []string{"Cost Repair", ""}},
		{"a speed or cost that is no number", []string{"Cost Other", "-1"}},
		{"a speed or cost that is no number", []string{"Speed IAS in knots", "fast"}},
		{"", []string{"Speed IAS in knots", ""}},
		{"unknown damage code", []string{"Effect Amount of damage", "B"}},
		{"repaired without damage", []string{"Effect Amount of damage", "None", "Cost Repair", "1"}},
		{"", []string{"Effect Amount of damage", "None", "Cost Other", "1"}},
		{"flying at 0 knots", []string{"Phase of flight", "Climb", "Speed IAS in knots", "0"}},
		{"flying at 0 knots", []string{"Phase of flight", "Descent", "Speed IAS in knots", "0"}},
		{"flying at 0 knots", []string{"Phase of flight", "Approach", "Speed IAS in knots", "0"}},
		{"", []string{"Phase of flight", "Approach", "Speed IAS in knots", ""}},
		{"", []string{"Phase of flight", "Parked", "Speed IAS in knots", "0"}},
		{"taxiing faster than 60 knots", []string{"Phase of flight", "Taxi", "Speed IAS in knots", "61"}},
		{"", []string{"Phase of flight", "Taxi", "Speed IAS in knots", "60"}},
	} {
		reason := ""
		if _, err := validate(report(test.fields...)); err != nil {
			reason = err.Error()
		}
		if reason != test.reason {
			t.Errorf("%v: reason %q, want %q", test.fields, reason, test.reason)
		}
	}
}

// report returns a valid report without costs, but with the given columns and values.
func report(fields ...string) opencdc.Record {
	columns := opencdc.StructuredData{
		"Flight Date": "1990-01-31", "Airport Name": " LOGAN", "Aircraft Airline Operator": "BUSINESS*",
		"Phase of flight": "Climb", "Speed IAS in knots": "100", "Wildlife Species": "Mallard",
		"Effect Amount of damage": "Minor", "Cost Repair": "0", "Cost Other": "0",
	}
	for i := 0; i < len(fields); i += 2 {
		columns[fields[i]] = fields[i+1]
	}
	return opencdc.Record{Payload: opencdc.Change{After: columns}}
}
