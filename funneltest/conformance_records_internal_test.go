package funneltest

import (
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

// A difference of any field is found. Stored records may lack fields, and may have another
// type of data.
func TestConformance_differences(t *testing.T) {
	want := conformRecord(1)
	for text, change := range map[string]func(*opencdc.Record){
		`Position is "x", want "position 1"`: func(r *opencdc.Record) { r.Position = opencdc.Position("x") },
		"Operation is delete, want update":   func(r *opencdc.Record) { r.Operation = opencdc.OperationDelete },
		"Metadata is map":                    func(r *opencdc.Record) { r.Metadata = opencdc.Metadata{"a": "b"} },
		`Key is raw "x", want opencdc`:       func(r *opencdc.Record) { r.Key = opencdc.RawData("x") },
		`Payload.Before is raw "x"`:          func(r *opencdc.Record) { r.Payload.Before = opencdc.RawData("x") },
		`Payload.After is raw "x"`:           func(r *opencdc.Record) { r.Payload.After = opencdc.RawData("x") },
	} {
		rec := conformRecord(1)
		change(&rec)
		wantTexts(t, conformDiff(rec, want), text)
		wantTexts(t, conformDiffStored(rec, want), text)
	}
	raw := conformRecord(1)
	raw.Key = opencdc.RawData(raw.Key.Bytes())
	if diff := conformDiffStored(raw, want); diff != "" {
		t.Errorf("raw data with the same bytes: %s", diff)
	}
	wantTexts(t, conformDiff(raw, want), "Key is raw")
	if diff := conformDiffStored(opencdc.Record{Position: want.Position}, want); diff != "" {
		t.Errorf("missing fields: %s", diff)
	}
	wantTexts(t, conformDiff(opencdc.Record{Position: want.Position}, want), "Operation", "Metadata", "Key", "Before", "After")
	if diff := conformDiff(conformRecord(1), want); diff != "" {
		t.Error(diff)
	}
}

// Data that holds itself is walked once.
func TestConformance_cycle(t *testing.T) {
	data := opencdc.StructuredData{"bytes": []byte("some bytes")}
	data["self"] = data
	rec := opencdc.Record{Key: data}
	if where := conformFindMark(rec); where != "" {
		t.Errorf("a mark is in %s", where)
	}
	conformMarkContents([]opencdc.Record{rec})
	if where := conformFindMark(rec); where != "Key" {
		t.Errorf("the mark is in %q", where)
	}
	if what := conformShared(conformAreas(rec), conformAreas(conformRecord(1))); what != "" {
		t.Error(what)
	}
}
