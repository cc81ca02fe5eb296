package funneltest

import (
	"bytes"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/fingerprint"
)

// conformRecord returns record i of the default records of a suite. Neighbours differ in
// the kinds of their data.
func conformRecord(i int) opencdc.Record {
	n := strconv.Itoa(i)
	rec := opencdc.Record{
		Position:  opencdc.Position("position " + n),
		Operation: opencdc.OperationCreate,
		Metadata:  opencdc.Metadata{"number": n},
		Key:       opencdc.RawData("key " + n),
	}
	if i%2 == 0 {
		rec.Payload.After = opencdc.RawData("payload " + n)
		return rec
	}
	rec.Operation = opencdc.OperationUpdate
	rec.Key = opencdc.StructuredData{"id": i}
	rec.Payload.Before = opencdc.StructuredData{"id": i, "name": "before"}
	rec.Payload.After = opencdc.StructuredData{
		"id":     i,
		"name":   "after",
		"tags":   []any{"a", "b"},
		"nested": map[string]any{"bytes": []byte("some bytes")},
	}
	return rec
}

// conformRecords returns a record for each number from begin up to, but not including, end.
func conformRecords(record func(int) opencdc.Record, begin, end int) []opencdc.Record {
	var recs []opencdc.Record
	for i := begin; i < end; i++ {
		rec := record(i)
		if len(rec.Position) == 0 {
			rec.Position = opencdc.Position("position " + strconv.Itoa(i))
		}
		recs = append(recs, rec)
	}
	return recs
}

// conformOddRecord is a record in which something is missing or unusual.
type conformOddRecord struct {
	what string
	opencdc.Record
}

// conformOddRecords returns records that a connector may refuse, but must survive.
func conformOddRecords() []conformOddRecord {
	raw := func() opencdc.Data { return opencdc.RawData("raw") }
	structured := func() opencdc.Data {
		return opencdc.StructuredData{"nil": nil, "list": []any{nil, 1, "a"}, "map": map[string]any{"empty": map[string]any(nil)}}
	}
	odd := []conformOddRecord{
		{"without anything but a position", opencdc.Record{}},
		{"without metadata", opencdc.Record{Operation: opencdc.OperationCreate, Key: raw(), Payload: opencdc.Change{After: raw()}}},
		{"without a key", opencdc.Record{Operation: opencdc.OperationCreate, Metadata: opencdc.Metadata{}, Payload: opencdc.Change{After: raw()}}},
		{"without a payload", opencdc.Record{Operation: opencdc.OperationUpdate, Metadata: opencdc.Metadata{}, Key: raw()}},
		{"with a payload only before the change", opencdc.Record{Operation: opencdc.OperationDelete, Key: structured(), Payload: opencdc.Change{Before: structured()}}},
		{"with raw data", opencdc.Record{Operation: opencdc.OperationSnapshot, Key: raw(), Payload: opencdc.Change{Before: raw(), After: raw()}}},
		{"with structured data", opencdc.Record{Operation: opencdc.OperationUpdate, Key: structured(), Payload: opencdc.Change{Before: structured(), After: structured()}}},
		{"with nil data of both kinds", opencdc.Record{Operation: opencdc.OperationCreate, Key: opencdc.RawData(nil), Payload: opencdc.Change{After: opencdc.StructuredData(nil)}}},
	}
	for i := range odd {
		odd[i].Position = opencdc.Position("odd " + strconv.Itoa(i))
	}
	return odd
}

// conformPositions returns the positions of records.
func conformPositions(recs []opencdc.Record) []opencdc.Position {
	positions := make([]opencdc.Position, len(recs))
	for i := range recs {
		positions[i] = recs[i].Position
	}
	return positions
}

// clone returns copies of records, which share nothing with them, not even the bytes of
// positions.
func (r *conformRun) clone(recs []opencdc.Record) []opencdc.Record {
	clones := make([]opencdc.Record, len(recs))
	for i := range recs {
		c, err := deepcopy.Record(recs[i])
		if err != nil {
			r.fail("record %s cannot be copied: %v", conformQuote(recs[i].Position), err)
		}
		c.Position = bytes.Clone(c.Position)
		clones[i] = c
	}
	return clones
}

// conformDiff returns how two records differ, or "" if they do not. Types count.
func conformDiff(got, want opencdc.Record) string {
	prints := fingerprint.New()
	return conformDiffBy(got, want, func(a, b opencdc.Data) bool {
		return prints.Record(&opencdc.Record{Key: a}) == prints.Record(&opencdc.Record{Key: b})
	})
}

// conformDiffStored returns how a stored record differs from the one that was written, or
// "" if it does not. Fields that are zero in the stored record do not count, nor do the
// types of data that have the same bytes.
func conformDiffStored(got, want opencdc.Record) string {
	if got.Operation == 0 {
		got.Operation = want.Operation
	}
	if got.Metadata == nil {
		got.Metadata = want.Metadata
	}
	return conformDiffBy(got, want, func(a, b opencdc.Data) bool {
		return a == nil || b != nil && bytes.Equal(a.Bytes(), b.Bytes())
	})
}

// conformDiffBy returns how two records differ, by a function that compares data.
func conformDiffBy(got, want opencdc.Record, isSame func(got, want opencdc.Data) bool) string {
	var diffs []string
	if !bytes.Equal(got.Position, want.Position) {
		diffs = append(diffs, fmt.Sprintf("Position is %s, want %s", conformQuote(got.Position), conformQuote(want.Position)))
	}
	if got.Operation != want.Operation {
		diffs = append(diffs, fmt.Sprintf("Operation is %v, want %v", got.Operation, want.Operation))
	}
	if !maps.Equal(got.Metadata, want.Metadata) {
		diffs = append(diffs, fmt.Sprintf("Metadata is %q, want %q", got.Metadata, want.Metadata))
	}
	for _, data := range []struct {
		name      string
		got, want opencdc.Data
	}{
		{"Key", got.Key, want.Key},
		{"Payload.Before", got.Payload.Before, want.Payload.Before},
		{"Payload.After", got.Payload.After, want.Payload.After},
	} {
		if !isSame(data.got, data.want) {
			diffs = append(diffs, fmt.Sprintf("%s is %s, want %s", data.name, conformShow(data.got), conformShow(data.want)))
		}
	}
	return strings.Join(diffs, "; ")
}

// conformShow returns the text of data, with its types.
func conformShow(d opencdc.Data) string {
	if raw, ok := d.(opencdc.RawData); ok {
		return conformShorten(fmt.Sprintf("raw %q", []byte(raw)))
	}
	return conformShorten(strings.ReplaceAll(fmt.Sprintf("%#v", d), "interface {}", "any"))
}

// conformShorten shortens a long text.
func conformShorten(text string) string {
	const limit = 500
	if len(text) <= limit {
		return text
	}
	return fmt.Sprintf("%s... (%d bytes)", text[:limit], len(text))
}

// conformQuote returns a position as findings show it.
func conformQuote(p opencdc.Position) string {
	const limit = 64
	if len(p) <= limit {
		return strconv.Quote(string(p))
	}
	return fmt.Sprintf("%q... (%d bytes)", p[:limit], len(p))
}

// conformQuoteAll returns positions as findings show them: the first ones, and how many
// follow.
func conformQuoteAll(positions []opencdc.Position) string {
	const limit = 20
	var texts []string
	for _, p := range positions[:min(limit, len(positions))] {
		texts = append(texts, conformQuote(p))
	}
	if more := len(positions) - limit; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, " ")
}
