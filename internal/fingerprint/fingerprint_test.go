package fingerprint_test

import (
	"math"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/fingerprint"
)

// person is a value of a type that is not from decoding.
type person struct {
	name string
	tags []string
	boss *person
}

func record() opencdc.Record {
	p := &person{name: "b", tags: []string{"x", "y"}}
	p.boss = p
	return opencdc.Record{
		Position:  opencdc.Position("p"),
		Operation: opencdc.OperationUpdate,
		Metadata:  opencdc.Metadata{"a": "1", "b": "2"},
		Key:       opencdc.RawData("key"),
		Payload: opencdc.Change{
			Before: opencdc.StructuredData{"nan": math.NaN(), "list": []any{1, int64(2), "3", nil, true, 1i}},
			After: opencdc.StructuredData{
				"inner": map[string]any{"deep": []byte("bytes"), "time": time.Unix(1, 2), "array": [2]int{1, 2}},
				"who":   p, "many": []map[string]any{{"x": 1.5}},
			},
		},
	}
}

// The fingerprint of a record that was not changed stays the same, and that of a copy is
// the same, though maps have no order and NaN is not equal to itself.
func TestRecord_same(t *testing.T) {
	m := fingerprint.New()
	a, b := record(), record()
	for range 100 {
		if m.Record(&a) != m.Record(&b) {
			t.Fatal("the fingerprints differ")
		}
	}
}

// Any change shows, however deep.
func TestRecord_changed(t *testing.T) {
	m := fingerprint.New()
	original := record()
	want := m.Record(&original)
	after := func(r *opencdc.Record) opencdc.StructuredData { return r.Payload.After.(opencdc.StructuredData) }
	inner := func(r *opencdc.Record) map[string]any { return after(r)["inner"].(map[string]any) }
	seen := map[uint64]string{want: "the original"}
	for name, change := range map[string]func(r *opencdc.Record){
		"position":        func(r *opencdc.Record) { r.Position[0]++ },
		"operation":       func(r *opencdc.Record) { r.Operation = opencdc.OperationDelete },
		"metadata":        func(r *opencdc.Record) { r.Metadata["a"] = "2" },
		"another key":     func(r *opencdc.Record) { r.Metadata["c"] = "3" },
		"two values":      func(r *opencdc.Record) { r.Metadata["a"], r.Metadata["b"] = "2", "1" },
		"a key less":      func(r *opencdc.Record) { delete(r.Metadata, "b") },
		"raw key":         func(r *opencdc.Record) { r.Key.(opencdc.RawData)[0]++ },
		"no key":          func(r *opencdc.Record) { r.Key = nil },
		"key's type":      func(r *opencdc.Record) { r.Key = opencdc.StructuredData{} },
		"list":            func(r *opencdc.Record) { r.Payload.Before.(opencdc.StructuredData)["list"].([]any)[4] = false },
		"a number's type": func(r *opencdc.Record) { r.Payload.Before.(opencdc.StructuredData)["list"].([]any)[0] = int32(1) },
		"order": func(r *opencdc.Record) {
			l := r.Payload.Before.(opencdc.StructuredData)["list"].([]any)
			l[0], l[2] = l[2], l[0]
		},
		"nan":               func(r *opencdc.Record) { r.Payload.Before.(opencdc.StructuredData)["nan"] = 1.0 },
		"complex":           func(r *opencdc.Record) { r.Payload.Before.(opencdc.StructuredData)["list"].([]any)[5] = 2i },
		"deep bytes":        func(r *opencdc.Record) { inner(r)["deep"].([]byte)[4] = 'X' },
		"deep time":         func(r *opencdc.Record) { inner(r)["time"] = time.Unix(1, 3) },
		"array":             func(r *opencdc.Record) { inner(r)["array"] = [2]int{1, 3} },
		"behind a pointer":  func(r *opencdc.Record) { after(r)["who"].(*person).tags[1] = "z" },
		"an unexported one": func(r *opencdc.Record) { after(r)["who"].(*person).name = "c" },
		"a cycle less":      func(r *opencdc.Record) { after(r)["who"].(*person).boss = nil },
		"list of maps":      func(r *opencdc.Record) { after(r)["many"].([]map[string]any)[0]["x"] = 2.5 },
		"before for after":  func(r *opencdc.Record) { r.Payload.Before, r.Payload.After = r.Payload.After, r.Payload.Before },
	} {
		r := record()
		change(&r)
		got := m.Record(&r)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: the fingerprint is that of %s", name, other)
		}
		seen[got] = name
	}
}

// Shared values are walked once, cycles end, and depth is bounded.
func TestRecord_graphs(t *testing.T) {
	m := fingerprint.New()
	twice := opencdc.StructuredData{"end": 1}
	for range 60 {
		twice = opencdc.StructuredData{"a": twice, "b": twice}
	}
	cycle := opencdc.StructuredData{}
	cycle["self"] = cycle
	deep := opencdc.StructuredData{}
	for range 1_000_000 {
		deep = opencdc.StructuredData{"deeper": deep}
	}
	for name, data := range map[string]opencdc.StructuredData{"shared": twice, "cycle": cycle, "deep": deep} {
		r := opencdc.Record{Payload: opencdc.Change{After: data}}
		before := m.Record(&r)
		data["more"] = true
		if m.Record(&r) == before {
			t.Errorf("%s: a change does not show", name)
		}
	}
}

// Maps that hold each other have a fingerprint that stays the same, whichever of them the
// walk meets first.
func TestRecord_cycleOfMaps(t *testing.T) {
	a, b := map[string]any{"n": 1}, map[string]any{"n": 2}
	a["b"], b["a"] = b, a
	r := opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"a": a, "b": b}}}
	m := fingerprint.New()
	before := m.Record(&r)
	for range 100 {
		if m.Record(&r) != before {
			t.Fatal("the fingerprint changes")
		}
	}
	b["n"] = 3
	if m.Record(&r) == before {
		t.Error("a change is not found")
	}
}
