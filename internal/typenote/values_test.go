package typenote_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the test are there on every machine

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// notesOn returns the notes on a record, as JSON and decoded.
func notesOn(t testing.TB, r opencdc.Record) (string, map[string]any) {
	t.Helper()
	b, err := typenote.Append([]byte(`{"v":0`), &r)
	if err != nil {
		t.Fatal(err)
	}
	var notes map[string]any
	text := string(b) + "}"
	if err := json.Unmarshal([]byte(text), &notes); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	delete(notes, "v")
	return strings.Replace(text, `"v":0,`, "", 1), notes
}

// mapOf returns the map of a record, as a dead letter has it.
func mapOf(r opencdc.Record) map[string]any {
	if r.Operation == 0 {
		r.Operation = opencdc.OperationCreate
	}
	return r.Map()
}

// decoders are the ways in which the map of a record may come back.
var decoders = map[string]func(m map[string]any) (map[string]any, error){
	"memory": func(m map[string]any) (map[string]any, error) { return m, nil },
	"opencdc": func(m map[string]any) (map[string]any, error) {
		var r opencdc.Record
		err := json.Unmarshal(opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData(m)}}.Bytes(), &r)
		if err != nil {
			return nil, err
		}
		return r.Payload.After.(opencdc.StructuredData), nil
	},
	"json": func(m map[string]any) (decoded map[string]any, err error) {
		text, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		return decoded, json.Unmarshal(text, &decoded)
	},
	"empty for nil": func(m map[string]any) (decoded map[string]any, err error) {
		written := maps.Clone(m)
		for _, name := range []string{"key", "payload"} {
			written[name] = emptyForNil(m[name])
		}
		text, err := json.Marshal(written)
		if err != nil {
			return nil, err
		}
		return decoded, json.Unmarshal(text, &decoded)
	},
	"json.Number": useNumber,
	"integers": func(m map[string]any) (map[string]any, error) {
		decoded, err := useNumber(m)
		return integers(decoded).(map[string]any), err
	},
}

// emptyForNil returns what encoders write that take nil for empty, such as that of Protocol
// Buffers, and a json.Number for a string.
func emptyForNil(v any) any {
	r := reflect.ValueOf(v)
	switch {
	case !r.IsValid():
		return nil
	case r.Type() == reflect.TypeFor[json.Number]():
		return r.String()
	case r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8:
		return append([]byte{}, r.Bytes()...)
	case r.Kind() == reflect.Slice:
		elements := make([]any, r.Len())
		for i := range elements {
			elements[i] = emptyForNil(r.Index(i).Interface())
		}
		return elements
	case r.Kind() == reflect.Map:
		members := make(map[string]any)
		for iter := r.MapRange(); iter.Next(); {
			members[iter.Key().String()] = emptyForNil(iter.Value().Interface())
		}
		return members
	}
	return v
}

func useNumber(m map[string]any) (decoded map[string]any, err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return decoded, d.Decode(&decoded)
}

// integers replaces each json.Number by an integer where possible, and otherwise by a float.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = integers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = integers(e)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

// same is reflect.DeepEqual, with NaN equal to itself and -0 different from 0.
func same(a, b any) bool { return reflect.DeepEqual(marked(a), marked(b)) }

// marked replaces odd floats by texts. It does not change v.
func marked(v any) any {
	switch v := v.(type) {
	case float64:
		if v != v || v == 0 {
			return fmt.Sprintf("float64 %v", v)
		}
	case float32:
		if v != v || v == 0 {
			return fmt.Sprintf("float32 %v", v)
		}
	case map[string]any:
		if v == nil {
			return v
		}
		m := maps.Clone(v)
		for k := range m {
			m[k] = marked(m[k])
		}
		return m
	case opencdc.StructuredData:
		if v == nil {
			return v
		}
		return opencdc.StructuredData(marked(map[string]any(v)).(map[string]any))
	case []any:
		if v == nil {
			return v
		}
		s := make([]any, len(v))
		for i := range v {
			s[i] = marked(v[i])
		}
		return s
	case []float64:
		return fmt.Sprintf("%T %v", v, v)
	case opencdc.Record:
		return []any{v.Position, v.Operation, v.Metadata, marked(v.Key), marked(v.Payload.Before), marked(v.Payload.After)}
	}
	return v
}

// location loads a time zone.
func location(name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return l
}

var (
	localTime      = time.Date(2024, 1, 1, 0, 0, 0, 0, time.Local)
	_, localOffset = localTime.Zone()
)

type (
	point   struct{ X int }
	celsius float64
)

// values has values of each type, and the notes on them.
var values = []struct {
	value any
	note  string // "" for none
}{
	{nil, ""},
	{true, ""},
	{"text", ""},
	{"", ""},
	{"int64 5", ""},
	{"nul \x00, \u2028, <&>, \ufffd", ""},
	{"bad \xff\xfe utf-8 \ufffd", `"string YmFkIP/+IHV0Zi04IO+/vQ=="`},
	{1.5, ""},
	{-0.1, ""},
	{5e-324, ""},
	{0.0, `"float64"`},
	{1.0, `"float64"`},
	{-3e9, `"float64"`},
	{1e18, `"float64"`},
	{math.Pow(2, 63), `"float64"`},
	{1e21, `"float64"`},
	{math.MaxFloat64, `"float64"`},
	{math.Copysign(0, -1), `"float64 -0"`},
	{int(1), `"int"`},
	{int8(-128), `"int8"`},
	{int16(-32768), `"int16"`},
	{int32(math.MinInt32), `"int32"`},
	{int64(1<<53 - 1), `"int64"`},
	{int64(1 << 53), `"int64 9007199254740992"`},
	{int64(9007199254740993), `"int64 9007199254740993"`},
	{int64(math.MinInt64), `"int64 -9223372036854775808"`},
	{int(math.MaxInt), `"int 9223372036854775807"`},
	{uint(7), `"uint"`},
	{uint8(255), `"uint8"`},
	{uint16(65535), `"uint16"`},
	{uint32(math.MaxUint32), `"uint32"`},
	{uint64(7), `"uint64"`},
	{uint64(1<<53 - 1), `"uint64"`},
	{uint64(1 << 53), `"uint64 9007199254740992"`},
	{int64(-1 << 53), `"int64 -9007199254740992"`},
	{uint64(math.MaxUint64), `"uint64 18446744073709551615"`},
	{float32(0.1), `"float32"`},
	{float32(16777216), `"float32"`},
	{float32(math.MaxFloat32), `"float32"`},
	{float32(math.SmallestNonzeroFloat32), `"float32"`},
	{float32(math.Copysign(0, -1)), `"float32 -0"`},
	{json.Number("1.50"), `"json.Number 1.50"`},
	{json.Number("9007199254740993"), `"json.Number 9007199254740993"`},
	{json.Number("-1e3"), `"json.Number -1e3"`},
	{[]byte("bytes"), `"[]byte"`},
	{[]byte{}, `"[]byte"`},
	{[]byte(nil), `"[]byte nil"`},
	{opencdc.RawData("raw"), `"opencdc.RawData 3"`},
	{opencdc.RawData{}, `"opencdc.RawData 0"`},
	{opencdc.RawData(nil), `"opencdc.RawData nil"`},
	{opencdc.Position("position"), `"opencdc.Position"`},
	{opencdc.Position(nil), `"opencdc.Position nil"`},
	{time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC), `"time.Time"`},
	{time.Time{}, `"time.Time"`},
	{time.Date(2024, 7, 1, 12, 0, 0, 0, location("Europe/Berlin")), `"time.Time 7200 zone Europe/Berlin"`},
	{time.Date(1890, 1, 1, 0, 0, 0, 0, location("Europe/Berlin")), `"time.Time 3208 zone Europe/Berlin"`},
	{time.Date(1900, 1, 1, 0, 0, 0, 0, location("America/New_York")), `"time.Time -18000 zone America/New_York"`},
	{time.Date(1880, 1, 1, 0, 0, 0, 0, location("America/New_York")), `"time.Time -17762 zone America/New_York"`},
	{time.Date(2024, 1, 1, 0, 0, 0, 0, location("CET")), `"time.Time 3600 zone CET"`},
	{time.Date(2024, 1, 1, 0, 0, 0, 0, time.FixedZone("CET", 3600)), `"time.Time 3600 fixed CET"`},
	{time.Date(2024, 1, 1, 0, 0, 0, 0, time.FixedZone("", -5400)), `"time.Time -5400 fixed "`},
	{time.Date(2024, 1, 1, 0, 0, 0, 0, time.FixedZone(`a "b" \`, 61)), `"time.Time 61 fixed a \"b\" \\"`},
	{localTime, fmt.Sprintf(`"time.Time %d local"`, localOffset)},
	{time.Minute, `"time.Duration"`},
	{time.Duration(math.MaxInt64), `"time.Duration 9223372036854775807"`},

	{map[string]any{}, ""},
	{map[string]any(nil), `"map[string]any nil"`},
	{map[string]any{"a": "x", "b": 1.5, "c": nil, "d": []any{"x", true}}, ""},
	{map[string]any{"b": 1, "a": int8(1), "c": "x"}, `{"a":"int8","b":"int"}`},
	{opencdc.StructuredData{}, `"opencdc.StructuredData"`},
	{opencdc.StructuredData(nil), `"opencdc.StructuredData nil"`},
	{opencdc.StructuredData{"a": 1, "b": "x"}, `["opencdc.StructuredData",{"a":"int"}]`},
	{[]any{}, ""},
	{[]any(nil), `"[]any nil"`},
	{[]any{"a", nil, 1.5, map[string]any{}}, ""},
	{[]any{1, 2, "a", 3, int8(4), int8(5), 0.5}, `{"0-1":"int","3":"int","4-5":"int8"}`},
	{[]any{map[string]any{"a": 1}, map[string]any{"a": 2, "b": "x"}, []any{1}, []any{2}}, `{"0-1":{"a":"int"},"2-3":{"0":"int"}}`},
	{[]any{0.5, 1, 0.5}, `{"1":"int"}`},
	{[]string{"a", ""}, `"[]string"`},
	{[]string{}, `"[]string"`},
	{[]string(nil), `"[]string nil"`},
	{[]string{"a", "\xff", "b"}, `["[]string",{"1":"string /w=="}]`},
	{[]bool{true, false}, `"[]bool"`},
	{[]int{1, 2}, `"[]int"`},
	{[]int64{1, 9007199254740993}, `["[]int64",{"1":"int64 9007199254740993"}]`},
	{[]uint64{1, math.MaxUint64, math.MaxUint64}, `["[]uint64",{"1-2":"uint64 18446744073709551615"}]`},
	{[]uint{1 << 53, 1<<53 - 1}, `["[]uint",{"0":"uint 9007199254740992"}]`},
	{[]int{-1 << 53, 1 << 53, 1 - 1<<53}, `["[]int",{"0":"int -9007199254740992","1":"int 9007199254740992"}]`},
	{[]float64{1, 0.5, math.Copysign(0, -1)}, `["[]float64",{"2":"float64 -0"}]`},
	{[]float32{1, 0.1}, `"[]float32"`},
	{[]int8{1}, `"[]int8"`},
	{[]uint16{1}, `"[]uint16"`},
	{[][]byte{[]byte("a"), nil, {}}, `["[][]byte",{"1":"[]byte nil"}]`},
	{[]json.Number{"1", "1.0"}, `["[]json.Number",{"0":"json.Number 1","1":"json.Number 1.0"}]`},
	{[]time.Time{time.Unix(0, 0).UTC(), time.Unix(0, 0).In(time.FixedZone("x", 60))}, `["[]time.Time",{"1":"time.Time 60 fixed x"}]`},
	{[]time.Duration{1}, `"[]time.Duration"`},
	{[]opencdc.Position{opencdc.Position("p")}, `"[]opencdc.Position"`},
	{[]map[string]any{{"a": 1}, nil, {}}, `["[]map[string]any",{"0":{"a":"int"},"1":"map[string]any nil"}]`},
	{[]opencdc.StructuredData{{"a": 1}}, `["[]opencdc.StructuredData",{"0":["opencdc.StructuredData",{"a":"int"}]}]`},
	{[][]any{{1}, nil, {"a"}}, `["[][]any",{"0":{"0":"int"},"1":"[]any nil"}]`},
	{[][][]float64{{{1, 2}, nil}}, `["[][][]float64",{"0":["[][]float64",{"1":"[]float64 nil"}]}]`},
	{[][][][]int{{{{1}}}}, `"[][][][]int"`},
	{map[string]string{"a": "b"}, `"map[string]string"`},
	{map[string]string(nil), `"map[string]string nil"`},
	{map[string]string{"a": "\xff"}, `["map[string]string",{"a":"string /w=="}]`},
	{map[string]int{"a": 1}, `"map[string]int"`},
	{map[string]int64{"b": 1 << 53, "a": 1 << 53}, `["map[string]int64",{"a":"int64 9007199254740992","b":"int64 9007199254740992"}]`},
	{map[string][]string{"a": {"x"}, "b": nil}, `["map[string][]string",{"b":"[]string nil"}]`},
	{map[string]map[string]any{"a": {"b": 1}}, `["map[string]map[string]any",{"a":{"b":"int"}}]`},
	{opencdc.Metadata{"a": "b"}, `"opencdc.Metadata"`},
	{map[string]any{"": 1, ".": 1, "a.b": 1, "a/b": 1, `"`: 1, `\`: 1, "\x00": 1, "\n": 1, "a[0]": 1, "0-9": 1, "\u2028": 1, "ü": 1, "<": 1, "!": 1},
		`{"":"int","\u0000":"int","\n":"int","!":"int","\"":"int",".":"int","0-9":"int","<":"int","\\":"int","a.b":"int","a/b":"int","a[0]":"int","ü":"int"," ":"int"}`},
}

// inMemory has values that JSON cannot hold, so they are restored in memory only.
var inMemory = []struct {
	value any
	note  string
}{
	{math.NaN(), `"float64 NaN"`},
	{math.Inf(1), `"float64 +Inf"`},
	{math.Inf(-1), `"float64 -Inf"`},
	{float32(math.Inf(-1)), `"float32 -Inf"`},
	{[]float64{0.5, math.NaN()}, `["[]float64",{"1":"float64 NaN"}]`},
	{json.Number("no number"), `"json.Number no number"`},
	{json.Number(""), `"json.Number "`},
	{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), `"time.Time"`},
}

// refused has values of types that cannot be restored.
var refused = []struct {
	value any
	what  string
}{
	{point{1}, "typenote_test.point"},
	{&point{1}, "*typenote_test.point"},
	{celsius(20), "typenote_test.celsius"},
	{[]celsius{20}, "[]typenote_test.celsius"},
	{[2]int{}, "[2]int"},
	{map[int]string{}, "map[int]string"},
	{map[any]any{}, "map[interface {}]interface {}"},
	{complex(1, 1), "complex128"},
	{(*int)(nil), "*int"},
	{json.RawMessage("{}"), "json.RawMessage"},
	{[][][][][]int{}, "[][][][][]int"},
	{map[string]any{"\xff": "x"}, "map with a key that is not valid UTF-8"},
	{opencdc.StructuredData{"\xff": "x"}, "map with a key that is not valid UTF-8"},
	{map[string]string{"\xff": "x"}, "map with a key that is not valid UTF-8"},
	{json.Number("\xff"), "json.Number that is not valid UTF-8"},
	{time.Unix(0, 0).In(time.FixedZone("\xff", 0)), "time.Time in a location whose name is not valid UTF-8"},
}
