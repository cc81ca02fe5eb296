package typenote_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// places are where a value may stand, with the notes on a record that holds it there. %s
// stands for the note on the value.
var places = map[string]struct {
	record func(v any) opencdc.Record
	notes  string
}{
	"key": {func(v any) opencdc.Record { return opencdc.Record{Key: opencdc.StructuredData{"v": v}} }, `{"key":{"v":%s}}`},
	"before": {func(v any) opencdc.Record {
		return opencdc.Record{Payload: opencdc.Change{Before: opencdc.StructuredData{"v": v}}}
	}, `{"before":{"v":%s}}`},
	"after": {func(v any) opencdc.Record {
		return opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"v": v}}}
	}, `{"after":{"v":%s}}`},
	"map": {func(v any) opencdc.Record {
		return opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"m": map[string]any{"v": v, "w": "x"}}}}
	}, `{"after":{"m":{"v":%s}}}`},
	"slice": {func(v any) opencdc.Record {
		return opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"s": []any{"x", v}}}}
	}, `{"after":{"s":{"1":%s}}}`},
	"structured data": {func(v any) opencdc.Record {
		return opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData{"d": opencdc.StructuredData{"v": v}}}}
	}, `{"after":{"d":["opencdc.StructuredData",{"v":%s}]}}`},
}

// testPlaces tests a value with its note in each place.
func testPlaces(t *testing.T, v any, note string, decode func(map[string]any) (map[string]any, error)) {
	t.Helper()
	for name, place := range places {
		r := place.record(v)
		r.Operation = opencdc.OperationUpdate
		text, notes := notesOn(t, r)
		want := fmt.Sprintf(place.notes, note)
		if note == "" {
			want = map[bool]string{false: `{"v":0}`, true: `{"after":{"d":"opencdc.StructuredData"}}`}[name == "structured data"]
		}
		if text != want {
			t.Errorf("%T(%v), %s: the notes are %s, want %s", v, v, name, text, want)
			continue
		}
		m, err := decode(mapOf(r))
		if err != nil {
			t.Fatalf("%T(%v), %s: %v", v, v, name, err)
		}
		got, err := typenote.Restore(m, notes)
		if err != nil || !same(got, r) {
			t.Errorf("%T(%v), %s: restored %#v, %v", v, v, name, got, err)
		}
	}
}

// Every value is restored, wherever it stands and however its record was decoded.
func TestRestore_values(t *testing.T) {
	for name, decode := range decoders {
		t.Run(name, func(t *testing.T) {
			for _, test := range values {
				testPlaces(t, test.value, test.note, decode)
			}
		})
	}
}

func TestRestore_inMemory(t *testing.T) {
	for _, test := range inMemory {
		testPlaces(t, test.value, test.note, decoders["memory"])
	}
	// Encoders that write such floats anyway write what they like.
	for _, v := range []any{nil, "NaN", "Infinity"} {
		got, err := typenote.Restore(mapOf(opencdc.Record{Key: opencdc.StructuredData{"v": v}}), map[string]any{"key": map[string]any{"v": "float64 +Inf"}})
		if err != nil || got.Key.(opencdc.StructuredData)["v"] != math.Inf(1) {
			t.Errorf("%v: %v, %v", v, got.Key, err)
		}
	}
}

// A value that cannot be restored is an error that names the place and the type.
func TestRestore_refused(t *testing.T) {
	for _, test := range refused {
		for name, place := range places {
			r := place.record(test.value)
			_, notes := notesOn(t, r)
			_, err := typenote.Restore(mapOf(r), notes)
			if err == nil || !strings.Contains(err.Error(), test.what) || !strings.Contains(err.Error(), `["v"]`) && name != "slice" {
				t.Errorf("%T, %s: %v", test.value, name, err)
			}
		}
	}
}

// custom is data of a type of its own.
type custom struct{ opencdc.Data }

// The fields of a record are restored, whether they are missing, nil or empty.
func TestRestore_fields(t *testing.T) {
	raw, structured := opencdc.RawData("raw"), opencdc.StructuredData{"a": 1}
	for _, test := range []struct {
		record, want opencdc.Record // want is a zero Record if it is the same
		notes        string
	}{
		{record: opencdc.Record{}, notes: `{"operation":"unset"}`},
		{record: opencdc.Record{Operation: opencdc.OperationSnapshot}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 99}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: -1}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Position: opencdc.Position{}}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Position: opencdc.Position("\x00\xff")}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Metadata: opencdc.Metadata{}}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Metadata: opencdc.Metadata{"a": "b", "": "\x00"}}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Metadata: opencdc.Metadata{"a": "\xff", "b": "x"}}, notes: `{"metadata":{"a":"string /w=="}}`},
		{record: opencdc.Record{Operation: 1, Key: opencdc.RawData("key")}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Key: opencdc.RawData{}}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Key: opencdc.RawData(nil)}, notes: `{"key":"opencdc.RawData nil"}`},
		{record: opencdc.Record{Operation: 1, Key: opencdc.StructuredData{}}, notes: `{"v":0}`},
		{record: opencdc.Record{Operation: 1, Key: opencdc.StructuredData(nil)}, notes: `{"key":"opencdc.StructuredData nil"}`},
		{record: opencdc.Record{Operation: 1, Payload: opencdc.Change{Before: opencdc.RawData(nil), After: opencdc.StructuredData(nil)}},
			notes: `{"before":"opencdc.RawData nil","after":"opencdc.StructuredData nil"}`},
		{record: opencdc.Record{Operation: 1, Payload: opencdc.Change{Before: opencdc.StructuredData{"a": 1}, After: opencdc.RawData("x")}},
			notes: `{"before":{"a":"int"}}`},
		{record: opencdc.Record{Operation: 1, Key: &raw, Payload: opencdc.Change{Before: (*opencdc.RawData)(nil), After: &structured}},
			want:  opencdc.Record{Operation: 1, Key: raw, Payload: opencdc.Change{After: structured}},
			notes: `{"after":{"a":"int"}}`},
		{record: opencdc.Record{Operation: 1, Payload: opencdc.Change{Before: (*opencdc.StructuredData)(nil)}},
			want: opencdc.Record{Operation: 1}, notes: `{"v":0}`},
	} {
		want := test.want
		if want.Operation == 0 {
			want = test.record
		}
		text, notes := notesOn(t, test.record)
		if text != test.notes {
			t.Errorf("%v: the notes are %s, want %s", test.record, text, test.notes)
		}
		for name, decode := range decoders {
			m, err := decode(mapOf(want))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := typenote.Restore(m, notes); err != nil || !same(got, want) {
				t.Errorf("%s: restored %#v, %v, want %#v", name, got, err, want)
			}
		}
	}
	r := opencdc.Record{Operation: 1, Key: custom{opencdc.RawData("x")}}
	_, notes := notesOn(t, r)
	if _, err := typenote.Restore(mapOf(r), notes); err == nil || !strings.Contains(err.Error(), "key: ") || !strings.Contains(err.Error(), "typenote_test.custom") {
		t.Errorf("custom data: %v", err)
	}
	r = opencdc.Record{Operation: 1, Metadata: opencdc.Metadata{"\xff": "x"}}
	_, notes = notesOn(t, r)
	if _, err := typenote.Restore(mapOf(r), notes); err == nil || !strings.Contains(err.Error(), "metadata: ") {
		t.Errorf("a key in the metadata: %v", err)
	}
}

// A value that does not fit its note is an error that says where, never another value.
func TestRestore_mismatch(t *testing.T) {
	for _, test := range []struct {
		value any
		note  string // JSON, "" for none
		want  string
	}{
		{9007199254740992.0, `"int64"`, "may have been another integer"},
		{-9007199254740992.0, `"int64"`, "may have been another integer"},
		{9007199254740994.0, `"int64 9007199254740993"`, "9007199254740993"},
		{json.Number("9007199254740992"), `"int64 9007199254740993"`, "9007199254740993"},
		{int64(9007199254740992), `"int64 9007199254740993"`, "9007199254740993"},
		{5.0, `"int64 9x"`, "invalid"},
		{"5", `"int64 9x"`, "invalid"},
		{5.0, `"int64 1e3"`, "invalid"},
		{json.Number("1e400"), `"int64"`, "range"},
		{json.Number("1e16"), `"int64"`, "may have been another integer"},
		{1.5, `"int"`, "not an integer"},
		{math.Inf(1), `"int"`, "not an integer"},
		{math.NaN(), `"int"`, "not an integer"},
		{json.Number("x"), `"int"`, "invalid syntax"},
		{128.0, `"int8"`, "range"},
		{-129.0, `"int8"`, "range"},
		{-1.0, `"uint"`, "invalid syntax"},
		{256.0, `"uint8"`, "range"},
		{json.Number("18446744073709551616"), `"uint64"`, "range"},
		{"5", `"int"`, "not an integer"},
		{nil, `"int"`, "not an integer"},
		{"5", `"float64"`, "not a number"},
		{nil, `"float64"`, "not a number"},
		{json.Number("1e999"), `"float64"`, "range"},
		{5.0, `"float64 NaN"`, "NaN"},
		{5.0, `"float64 +Inf"`, "Inf"},
		{5.0, `"float64 -0"`, "-0"},
		{nil, `"float64 -0"`, "-0"},
		{5.0, `"float64 7"`, "invalid"},
		{0.12345678901, `"float32"`, "not a float32"},
		{1e300, `"float32"`, "not a float32"},
		{json.Number("1e300"), `"float32"`, "not a float32"},
		{json.Number("0.12345678901"), `"float32"`, "not a float32"},
		{1.5, `"json.Number 2.5"`, "2.5"},
		{json.Number("1.5"), `"json.Number 2.5"`, "2.5"},
		{int64(9007199254740992), `"json.Number 9007199254740993"`, "9007199254740993"},
		{json.Number("9007199254740992"), `"json.Number 9007199254740993"`, "9007199254740993"},
		{0.0, `"json.Number x"`, "x"},
		{"x", `"json.Number 1"`, "not a number"},
		{5, `"[]byte"`, "not bytes"},
		{nil, `"[]byte"`, "null"},
		{"a", `"[]byte"`, "Base64"},
		{"YR==", `"[]byte"`, "Base64"},
		{"YQ==", `"[]byte 1"`, "invalid"},
		{"YQ==", `"[]byte nil"`, "not null"},
		{"abcd", `"opencdc.RawData 4"`, "3 bytes"},
		{"abcd", `"opencdc.RawData"`, "3 bytes"},
		{5, `"time.Time"`, "not a time"},
		{"yesterday", `"time.Time"`, "cannot parse"},
		{"2024-01-01T00:00:00+01:00", `"time.Time"`, "+01:00"},
		{"2024-01-01T00:00:00Z", `"time.Time x fixed y"`, "no offset"},
		{"2024-01-01T00:00:00Z", `"time.Time 9999999 fixed y"`, "no offset"},
		{"2024-01-01T00:00:00Z", `"time.Time 0 moving y"`, "no location"},
		{"2024-01-01T00:00:00Z", `"time.Time 3600 fixed y"`, "3600"},
		{"2024-01-01T00:00:00+01:00", `"time.Time 3600 zone Mars/Olympus"`, "Mars/Olympus"},
		{"2024-01-01T00:00:00+01:00", `"time.Time 3600 zone ../../etc/passwd"`, "etc/passwd"},
		{"2024-01-01T00:00:00+03:00", `"time.Time 10800 zone Europe/Berlin"`, "another offset"},
		{"x", `"string YQ=="`, "YQ=="},
		{"x", `"string !"`, "invalid"},
		{5, `"string YQ=="`, "not a string"},
		{5, `"bool"`, "not a boolean"},
		{true, `"bool x"`, "not a boolean"},
		{"x", `"map[string]any nil"`, "not null"},
		{nil, `"map[string]string"`, "null"},
		{nil, `"[]string"`, "null"},
		{"x", `"map[string]string"`, "not an object"},
		{[]any{}, `"map[string]string"`, "not an object"},
		{map[string]any{}, `"[]string"`, "not an array"},
		{[]any{5}, `"[]string"`, "[0]: it is of type int, not a string"},
		{[]any{"x"}, `["[]string",{"0":"int"}]`, "invalid"},
		{[]any{"x"}, `"[]string 5"`, "invalid"},
		{[]any{"x"}, `["[]string 5",{}]`, "invalid"},
		{[]any{nil}, `"[][]string"`, "[0]: it is null"},
		{map[string]any{"a": nil}, `"map[string]int"`, `["a"]: it is null`},
		{[]any{"x"}, `{"1":"int"}`, `"1"`},
		{[]any{"x"}, `{"-1":"int"}`, `"-1"`},
		{[]any{"x"}, `{"0-9999999999999999999":"int"}`, "0-9999"},
		{[]any{"x", "y"}, `{"1-0":"int"}`, `"1-0"`},
		{[]any{"x"}, `{"00":"int"}`, `"00"`},
		{[]any{"x"}, `{"+0":"int"}`, `"+0"`},
		{[]any{1.0, 2.0, 3.0}, `{"0-1":"int","1-2":"int"}`, "two notes on element 1"},
		{[]any{1.0}, `{"0":null}`, "null"},
		{map[string]any{"a": 1.0}, `{"a":null}`, "null"},
		{map[string]any{"a": 1.5}, `{"a":{"b":"int"}}`, "notes on what it holds"},
		{map[string]any{}, `{"a":"int","b":"int"}`, `member "a"`},
		{5.0, `{}`, "notes on what it holds"},
		{5.0, ``, "no note says of which type"},
		{json.Number("5"), ``, "no note says of which type"},
		{json.Number("1e999"), ``, "range"},
		{5, ``, "no note says so"},
		{time.Time{}, ``, "no note says so"},
		{[]string{}, ``, "no note says so"},
		{5, `""`, "invalid"},
		{5, `"any"`, "invalid"},
		{5, `"[]"`, "invalid"},
		{5, `"main.Point"`, "invalid"},
		{5, `"[][][][][]int"`, "invalid"},
		{5, `"map[int]string"`, "invalid"},
		{5, `5`, "invalid"},
		{5, `["int"]`, "invalid"},
		{5, `["int",{}]`, "invalid"},
		{5, `["[]byte",{}]`, "invalid"},
		{5, `[{},{}]`, "invalid"},
		{5, `["[]int","x"]`, "invalid"},
		{5, `["!x",{}]`, "cannot be restored: x"},
		{5, `["[]int","!x"]`, "cannot be restored: x"},
		{5, `"!x"`, "cannot be restored: x"},
	} {
		note := map[string]any{}
		if test.note != "" {
			if err := json.Unmarshal([]byte(`{"v":`+test.note+`}`), &note); err != nil {
				t.Fatalf("%s: %v", test.note, err)
			}
		}
		r := opencdc.Record{Key: opencdc.StructuredData{"v": test.value}}
		got, err := typenote.Restore(mapOf(r), map[string]any{"key": note})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), `key["v"]`) {
			t.Errorf("%v with %s: %v, %v", test.value, test.note, got, err)
		}
	}
}

// The same for the fields of the record.
func TestRestore_fieldMismatch(t *testing.T) {
	for _, test := range []struct {
		field string
		value any // "" removes it
		notes string
		want  string
	}{
		{"position", "", `{}`, "position is missing"},
		{"operation", "", `{}`, "operation is missing"},
		{"metadata", "", `{}`, "metadata is missing"},
		{"key", "", `{}`, "key is missing"},
		{"payload", "", `{}`, "payload is missing"},
		{"payload", "x", `{}`, "the payload is of type string"},
		{"payload", map[string]any{"before": nil}, `{}`, "after is missing"},
		{"payload", map[string]any{"after": nil}, `{}`, "before is missing"},
		{"position", 5, `{}`, "position: it is of type int"},
		{"position", "x", `{}`, "position: it is a string, but no Base64"},
		{"operation", 5, `{}`, "operation: it is of type int"},
		{"operation", "dance", `{}`, "dance"},
		{"operation", "create", `{"operation":"x"}`, "operation: the note"},
		{"metadata", 5, `{}`, "metadata: it is of type int"},
		{"metadata", map[string]any{"a": 5}, `{}`, `metadata["a"]: it is of type int`},
		{"metadata", nil, `{"metadata":{}}`, `metadata: it is null`},
		{"key", "x", `{}`, "key: it is a string, but no Base64"},
		{"key", true, `{}`, "key: it is of type bool"},
		{"key", "", `{"key":{}}`, "key is missing"},
		{"key", nil, `{"key":{}}`, "key: it is null, not an object"},
		{"key", "YQ==", `{"key":{"a":"int"}}`, "key: it is of type string, not an object"},
		{"key", "YQ==", `{"key":"opencdc.RawData nil"}`, "not null"},
		{"key", nil, `{"key":"opencdc.RawData 5"}`, "invalid"},
		{"key", nil, `{"key":"[]byte nil"}`, "invalid"},
		{"key", nil, `{"key":"!x"}`, "key: it was of a type that cannot be restored: x"},
		{"key", nil, `{"key":null}`, "null"},
		{"key", map[string]any{}, `{"key":["[]int",{}]}`, "invalid"},
		{"key", nil, `{"kex":"int"}`, `"kex"`},
	} {
		m := mapOf(opencdc.Record{})
		m[test.field] = test.value
		if test.value == "" {
			delete(m, test.field)
		}
		var notes map[string]any
		if err := json.Unmarshal([]byte(test.notes), &notes); err != nil {
			t.Fatal(err)
		}
		if got, err := typenote.Restore(m, notes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s is %v, notes %s: %v, %v", test.field, test.value, test.notes, got, err)
		}
	}
}

// A time zone of another machine becomes a fixed one.
func TestRestore_localElsewhere(t *testing.T) {
	m := mapOf(opencdc.Record{Operation: 1, Key: opencdc.StructuredData{"v": "2024-07-01T12:00:00+05:30"}})
	r, err := typenote.Restore(m, map[string]any{"key": map[string]any{"v": "time.Time 19800 local"}})
	want := time.Date(2024, 7, 1, 12, 0, 0, 0, time.FixedZone("", 19800))
	if err != nil || !same(r.Key, opencdc.StructuredData{"v": want}) {
		t.Errorf("%v, %v", r.Key, err)
	}
}

// Data that is too large, contains itself, or is reached by many paths takes only a moment.
func TestAppend_limits(t *testing.T) {
	cycle := opencdc.StructuredData{}
	cycle["self"] = map[string]any(cycle)
	paths := any("x")
	for range 64 {
		paths = []any{paths, paths}
	}
	runs := any(1)
	for range 64 {
		runs = []any{runs, runs}
	}
	large := opencdc.StructuredData{}
	for i := range 100_000 {
		large[fmt.Sprint("a rather long key ", i)] = i
	}
	for name, test := range map[string]struct {
		data opencdc.Data
		want string
	}{
		"cycle":        {cycle, "holds itself"},
		"paths":        {opencdc.StructuredData{"v": paths}, "a million values"},
		"runs":         {opencdc.StructuredData{"v": runs}, "a million values"},
		"large notes":  {large, "a megabyte"},
		"large slice":  {opencdc.StructuredData{"v": make([]any, 1<<21)}, "a million values"},
		"large floats": {opencdc.StructuredData{"v": make([]float64, 1<<20)}, ""},
	} {
		b, err := typenote.Append([]byte("x"), &opencdc.Record{Operation: 1, Key: test.data})
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || string(b) != "x" {
			t.Errorf("%s: %.100q, %v", name, b, err)
		}
	}
	// Restoring it takes only a moment, too.
	for name, test := range map[string]struct {
		data opencdc.Data
		note string
		want string
	}{
		"paths": {opencdc.StructuredData{"v": paths}, `{}`, "a million values"},
		"cycle": {cycle, `{}`, "nested too deeply"},
	} {
		var note map[string]any
		if err := json.Unmarshal([]byte(test.note), &note); err != nil {
			t.Fatal(err)
		}
		_, err := typenote.Restore(mapOf(opencdc.Record{Key: test.data}), map[string]any{"key": note})
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Large data whose elements are alike has short notes.
func TestAppend_short(t *testing.T) {
	rows := make([]any, 1000)
	for i := range rows {
		rows[i] = map[string]any{"id": i, "at": time.Unix(int64(i), 0).UTC(), "tags": []any{1, 2, 3}}
	}
	text, _ := notesOn(t, opencdc.Record{Operation: 1, Key: opencdc.StructuredData{"rows": rows}})
	if want := `{"key":{"rows":{"0-999":{"at":"time.Time","id":"int","tags":{"0-2":"int"}}}}}`; text != want {
		t.Errorf("the notes are %.200s", text)
	}
	if !utf8.ValidString(text) {
		t.Error("the notes are not valid UTF-8")
	}
}

// The result shares no mutable data with the map.
func TestRestore_sharesNothing(t *testing.T) {
	make := func() opencdc.Record {
		return opencdc.Record{
			Position: opencdc.Position("p"), Operation: 1, Metadata: opencdc.Metadata{"a": "b"}, Key: opencdc.RawData("key"),
			Payload: opencdc.Change{After: opencdc.StructuredData{
				"m": map[string]any{"a": "b"}, "s": []any{"x"}, "t": []string{"x"}, "b": []byte("x"), "i": []int{1},
			}},
		}
	}
	r := make()
	_, notes := notesOn(t, r)
	restored, err := typenote.Restore(mapOf(r), notes)
	if err != nil {
		t.Fatal(err)
	}
	restored.Position[0] = 'x'
	restored.Metadata["a"] = "x"
	restored.Key.(opencdc.RawData)[0] = 'x'
	after := restored.Payload.After.(opencdc.StructuredData)
	after["m"].(map[string]any)["a"] = "x"
	after["s"].([]any)[0] = "y"
	after["t"].([]string)[0] = "y"
	after["b"].([]byte)[0] = 'y'
	after["i"].([]int)[0] = 2
	if !same(r, make()) {
		t.Errorf("the record has changed to %v", r)
	}
}

// Without notes, values keep the types that they have.
func TestRestoreUntyped(t *testing.T) {
	for _, test := range []struct{ record, want opencdc.Record }{
		{opencdc.Record{}, opencdc.Record{Operation: 1}},
		{
			opencdc.Record{Position: opencdc.Position("p"), Operation: 2, Metadata: opencdc.Metadata{"a": "b"}, Key: opencdc.RawData("key"),
				Payload: opencdc.Change{Before: opencdc.StructuredData{"n": 1, "b": []byte("x")}, After: opencdc.StructuredData{}}},
			opencdc.Record{Position: opencdc.Position("p"), Operation: 2, Metadata: opencdc.Metadata{"a": "b"}, Key: opencdc.RawData("key"),
				Payload: opencdc.Change{Before: opencdc.StructuredData{"n": 1.0, "b": "eA=="}, After: opencdc.StructuredData{}}},
		},
	} {
		m, err := decoders["opencdc"](mapOf(test.record))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := typenote.RestoreUntyped(m); err != nil || !same(got, test.want) {
			t.Errorf("restored %#v, %v", got, err)
		}
	}
	if _, err := typenote.RestoreUntyped(map[string]any{}); err == nil {
		t.Error("a map that is no record was restored")
	}
}
