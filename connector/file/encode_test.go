package file_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// encoded returns what a destination writes for a record, without the line end, or the
// error of its ack.
func encoded(t *testing.T, format file.Format, r opencdc.Record, opts ...file.DestinationOption) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	d := openDestination(t, path, format, opts...)
	good := fields("a", 1)
	if format == file.Lines {
		good = raw("good")
	}
	mustWrite(t, d, good)
	before := len(content(path))
	if err := deliver(t, d, r)[0]; err != nil {
		if text := content(path); len(text) != before {
			t.Errorf("a refused record has left %q", text[before:])
		}
		return "", err
	}
	text, ok := strings.CutSuffix(content(path)[before:], "\n")
	if !ok {
		t.Errorf("%q has no line end", text)
	}
	return text, nil
}

type (
	ownText   struct{ text string }
	ownJSON   string
	ownString string
	ownFloat  float32
	ownBytes  []byte
	point     struct {
		X int     `json:"x"`
		Y float64 `json:"y,omitempty"`
	}
)

func (o ownText) MarshalText() ([]byte, error) { return []byte("text " + o.text), nil }
func (o ownJSON) MarshalJSON() ([]byte, error) { return []byte(o), nil }

func nested(depth int) any {
	var v any = map[string]any{}
	for range depth - 1 {
		v = map[string]any{"a": v}
	}
	return v
}

func cycle() map[string]any {
	m := map[string]any{}
	m["b"] = []any{1, m}
	return m
}

func TestJSONLines_values(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	one := 1
	var noMap map[string]any
	var noPoint *point
	for _, tt := range []struct {
		value any
		want  string // of {"v":...}
	}{
		{nil, `null`}, {true, `true`}, {false, `false`},
		{"", `""`}, {"a\"b\\c\n\u2028<&>é\x00", "\"a\\\"b\\\\c\\n\u2028<&>é\\u0000\""},
		{int8(-128), `-128`}, {int16(-32768), `-32768`}, {int32(math.MinInt32), `-2147483648`},
		{int64(math.MinInt64), `-9223372036854775808`}, {9007199254740993, `9007199254740993`},
		{uint8(255), `255`}, {uint16(65535), `65535`}, {uint32(math.MaxUint32), `4294967295`},
		{uint64(math.MaxUint64), `18446744073709551615`}, {uint(7), `7`}, {uintptr(8), `8`},
		{0.1, `0.1`}, {float32(0.1), `0.1`}, {1.0, `1`}, {math.Copysign(0, -1), `-0`}, {1e21, `1e+21`},
		{1e20, `100000000000000000000`}, {1e-7, `1e-7`}, {1e-6, `0.000001`}, {math.MaxFloat64, `1.7976931348623157e+308`},
		{math.SmallestNonzeroFloat64, `5e-324`}, {float32(1e-7), `1e-7`}, {ownFloat(0.5), `0.5`},
		{[]byte("hi\x00"), `"aGkA"`}, {[]byte(nil), `null`}, {[]byte{}, `""`}, {ownBytes("hi"), `"aGk="`},
		{opencdc.RawData("hi"), `"aGk="`}, {opencdc.Position("hi"), `"aGk="`},
		{time.Date(2024, 2, 29, 1, 2, 3, 4, time.UTC), `"2024-02-29T01:02:03.000000004Z"`},
		{time.Date(2024, 2, 29, 1, 2, 3, 0, berlin), `"2024-02-29T01:02:03+01:00"`},
		{time.Second, `1000000000`},
		{json.Number("1.50"), `1.50`}, {json.RawMessage(`{"a": 1}`), `{"a":1}`},
		{map[string]any{"b": 1, "a": map[string]any{"d": 1, "c": 2}, "": 0}, `{"":0,"a":{"c":2,"d":1},"b":1}`},
		{opencdc.StructuredData{"b": 1, "a": 2}, `{"a":2,"b":1}`}, {noMap, `null`},
		{map[string]string{"b": "1", "a": "<2>"}, `{"a":"<2>","b":"1"}`}, {map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`},
		{map[ownString]any{"b": 1}, `{"b":1}`}, {map[int]string{10: "a", 9: "b"}, `{"10":"a","9":"b"}`},
		{[]any{}, `[]`}, {[]any(nil), `null`}, {[]any{1, "a", nil, []any{2}}, `[1,"a",null,[2]]`},
		{[]string{"a", "b"}, `["a","b"]`}, {[2]int{1, 2}, `[1,2]`}, {[]float64(nil), `null`}, {[]map[string]any{{"a": 1}}, `[{"a":1}]`},
		{&one, `1`}, {noPoint, `null`}, {point{X: 1}, `{"x":1}`}, {&point{1, 2.5}, `{"x":1,"y":2.5}`}, {[]point{{X: 3}}, `[{"x":3}]`},
		{ownText{"a"}, `"text a"`}, {ownJSON(` [1, 2] `), `[1,2]`}, {ownString("a"), `"a"`},
		{nested(9999), strings.Repeat(`{"a":`, 9998) + `{}` + strings.Repeat(`}`, 9998)},
	} {
		got, err := encoded(t, file.JSONLines, fields("v", tt.value))
		if want := `{"v":` + tt.want + `}`; err != nil || got != want {
			t.Errorf("%T %.100v: got %.200s, %v, want %.200s", tt.value, tt.value, got, err, want)
		}
	}
}

func TestJSONLines_refused(t *testing.T) {
	loop := cycle()
	for _, tt := range []struct {
		value any
		want  []string
	}{
		{math.NaN(), []string{"JSON Lines", "at .v", "NaN"}},
		{float32(math.Inf(1)), []string{"at .v", "+Inf"}},
		{map[string]any{"a b": []any{0, math.Inf(-1)}}, []string{`at .v["a b"][1]`, "-Inf"}},
		{map[string]any{"x": map[string]any{"": math.NaN()}}, []string{`at .v.x[""]`}},
		{"a\xff", []string{"at .v", "UTF-8"}},
		{map[string]any{"\xff": 1}, []string{`at .v["\xff"]`, "UTF-8"}},
		{map[string]string{"a": "\xff"}, []string{`at .v.a:`, "UTF-8"}},
		{map[string]string{"\xff": "a"}, []string{`at .v["\xff"]`, "UTF-8"}},
		{map[string]int{"a": 1, "\xff": 1}, []string{`at .v["\xff"]`, "UTF-8"}},
		{[]float64{1, math.NaN()}, []string{"at .v[1]", "NaN"}},
		{map[string]float32{"n": float32(math.NaN())}, []string{"at .v.n", "NaN"}},
		{struct{ S string }{"\xff"}, []string{"at .v", "UTF-8"}},
		{ownText{"\xff"}, []string{"at .v", "UTF-8"}},
		{ownJSON(`{`), []string{"at .v"}}, {ownJSON(`{"a":1,"a":2}`), []string{"at .v", "duplicate"}},
		{json.Number("1x"), []string{"at .v", `"1x"`}}, {json.Number(""), []string{"at .v"}}, {json.Number(" 1"), []string{"at .v"}},
		{json.Number(`"1"`), []string{"at .v"}}, {json.Number("1,2"), []string{"at .v"}},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), []string{"at .v", "10000"}},
		{make(chan int), []string{"at .v", "chan int"}}, {func() {}, []string{"at .v"}}, {complex(1, 1), []string{"at .v"}},
		{nested(10000), []string{"10000 levels"}}, {loop, []string{"10000 levels", "at .v.b[1].b", "…"}},
	} {
		_, err := encoded(t, file.JSONLines, fields("v", tt.value))
		wantError(t, err, tt.want...)
		if err != nil && len(err.Error()) > 600 {
			t.Errorf("the error is long: %v", err)
		}
	}
	_, err := encoded(t, file.JSONLines, opencdc.Record{})
	wantError(t, err, "no payload after the change")
	_, err = encoded(t, file.JSONLines, opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData(nil)}})
	wantError(t, err, "no payload after the change")
}

// Raw data that is JSON is written as it is, on one line.
func TestJSONLines_raw(t *testing.T) {
	for text, want := range map[string]string{
		"{\"b\": 1e2,\n \"a\": [1.0, \"\\u0041\"]}\r\n": `{"b":1e2,"a":[1.0,"\u0041"]}`,
		`9007199254740993.0`:                            `9007199254740993.0`,
		` null `:                                        `null`,
	} {
		if got, err := encoded(t, file.JSONLines, raw(text)); err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "{", `{"a":1} {"b":2}`, `{"a":1}x`, "\"\xff\"", `{"a":1,"a":2}`, "\"\n\"", "hello", "\ufeff{}"} {
		_, err := encoded(t, file.JSONLines, raw(text))
		wantError(t, err, "raw data", "no valid JSON")
	}
}

func TestLines(t *testing.T) {
	for _, text := range []string{"", " ", "hello", "a\rb", "\xff\xfe", "é", `"quoted"`} {
		if got, err := encoded(t, file.Lines, raw(text)); err != nil || got != text {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	if got, err := encoded(t, file.Lines, fields("b", 1, "a", "x\n")); err != nil || got != `{"a":"x\n","b":1}` {
		t.Errorf("structured data: %s, %v", got, err)
	}
	for text, want := range map[string]string{"a\nb": "line end", "\n": "line end", "a\r": "carriage return", "a\x00b": "NUL"} {
		_, err := encoded(t, file.Lines, raw(text))
		wantError(t, err, "lines", want)
	}
	_, err := encoded(t, file.Lines, opencdc.Record{})
	wantError(t, err, "no payload after the change")
}

var (
	columnsAB = file.WithColumns("a", "b")
	columnA   = file.WithColumns("a")
)

func TestCSV_values(t *testing.T) {
	for _, tt := range []struct {
		record opencdc.Record
		opts   []file.DestinationOption
		want   string
	}{
		{fields("a", 1, "b", "x"), nil, `1,x`}, {fields("b", "x"), nil, `,x`}, {fields(), nil, `,`}, {fields("a", nil), nil, `,`},
		{fields("a", `say "hi"`, "b", "1,2"), nil, `"say ""hi""","1,2"`},
		{fields("a", `"`, "b", `""`), nil, `"""",""""""`},
		{fields("a", "1\n2", "b", "x\r"), nil, "\"1\n2\",\"x\r\""},
		{fields("a", " x", "b", "x "), nil, `" x",x `}, {fields("a", `\.`), nil, `"\.",`}, {fields("a", "\u00a0x"), nil, "\"\u00a0x\","},
		{fields("a", []any{1, "x"}, "b", map[string]any{"d": 1, "c": nil}), nil, `"[1,""x""]","{""c"":null,""d"":1}"`},
		{fields("a", time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC), "b", []byte("hi")), nil, `2024-02-29T01:02:03Z,aGk=`},
		{fields("a", true, "b", 1e21), nil, `true,1e+21`}, {fields("a", uint64(math.MaxUint64), "b", float32(0.1)), nil, `18446744073709551615,0.1`},
		{fields("a", ownText{"a,b"}, "b", (*point)(nil)), nil, `"text a,b",`}, {fields("a", map[string]any(nil)), nil, `,`},
		{fields("a", ownString("null"), "b", "null"), nil, `null,null`},
		{fields("a", 1, "c", 2), []file.DestinationOption{file.WithOtherFieldsDropped()}, `1,`},
		{fields("a", "1;2", "b", "1,2"), []file.DestinationOption{file.WithComma(';')}, `"1;2";1,2`},
		{fields("a", "x", "b", "1€2"), []file.DestinationOption{file.WithComma('€')}, `x€"1€2"`},
		{fields(), []file.DestinationOption{columnA}, `""`}, {fields("a", ""), []file.DestinationOption{columnA}, `""`},
	} {
		got, err := encoded(t, file.CSV, tt.record, append([]file.DestinationOption{columnsAB}, tt.opts...)...)
		if err != nil || got != tt.want {
			t.Errorf("%v: got %s, %v, want %s", tt.record.Payload.After, got, err, tt.want)
		}
	}
}

func TestCSV_refused(t *testing.T) {
	for _, tt := range []struct {
		record opencdc.Record
		want   []string
	}{
		{fields("a", 1, "c", 2), []string{`field "c" has no column`}},
		{fields("d", 1, "c", 2), []string{`2 of its fields have no column, such as "c"`}},
		{fields("a", nil, "c", nil), []string{`field "c" has no column`}},
		{fields("a", math.NaN()), []string{"at .a", "NaN"}}, {fields("b", []any{math.NaN()}), []string{"at .b[0]", "NaN"}},
		{fields("b", "\x00"), []string{"at .b", "NUL"}}, {fields("b", "\xff"), []string{"at .b", "UTF-8"}}, {fields("b", ownText{"\x00"}), []string{"at .b", "NUL"}},
		{raw("1,2"), []string{"raw data"}}, {opencdc.Record{}, []string{"no payload"}},
		{opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData(nil)}}, []string{"no payload"}},
	} {
		_, err := encoded(t, file.CSV, tt.record, columnsAB)
		wantError(t, err, append(tt.want, "CSV")...)
	}
}

// randomText returns a text of characters that mean something in CSV or JSON.
func randomText(r *rand.Rand) string {
	all := []string{"a", "b", `"`, ",", "\n", " ", ";", "\\", "é", "\u2028", "0", ".", "x\ry", "\t", "'", "<", "\u00a0"}
	var b strings.Builder
	for range r.IntN(8) {
		b.WriteString(all[r.IntN(len(all))])
	}
	return b.String()
}

// What encoding/csv reads is what was written.
func TestCSV_roundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, comma := range []rune{',', ';', '\t', '€', ' '} {
		columns := []string{"a", `"q" `, " c,;", "d\ne", "\t€"}
		path := filepath.Join(t.TempDir(), "out.csv")
		d := openDestination(t, path, file.CSV, file.WithColumns(columns...), file.WithComma(comma))
		want := [][]string{columns}
		var recs []opencdc.Record
		for range 500 {
			rec, row := fields(), []string{}
			for _, name := range columns {
				text := randomText(random)
				row = append(row, text)
				rec.Payload.After.(opencdc.StructuredData)[name] = text
			}
			want, recs = append(want, row), append(recs, rec)
		}
		mustWrite(t, d, recs...)
		r := csv.NewReader(strings.NewReader(content(path)))
		r.Comma = comma
		got, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("with the comma %q: got other rows", comma)
		}
	}
}

// randomValue returns a value that encoding/json reads as it was.
func randomValue(r *rand.Rand, depth int) any {
	switch n := r.IntN(7); {
	case n == 0 && depth > 0:
		m := map[string]any{}
		for range r.IntN(4) {
			m[randomText(r)] = randomValue(r, depth-1)
		}
		return m
	case n == 1 && depth > 0:
		list := []any{}
		for range r.IntN(4) {
			list = append(list, randomValue(r, depth-1))
		}
		return list
	case n == 2:
		return math.Float64frombits(r.Uint64()&^(1<<62) | 1<<40)
	case n == 3:
		return r.IntN(2) == 0
	case n == 4:
		return nil
	default:
		return randomText(r)
	}
}

// What encoding/json reads is what was written, and encoding/json writes the same text.
func TestJSONLines_roundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	path := filepath.Join(t.TempDir(), "out.jsonl")
	d := openDestination(t, path, file.JSONLines)
	var recs []opencdc.Record
	for range 1000 {
		recs = append(recs, fields("v", randomValue(random, 5)))
	}
	mustWrite(t, d, recs...)
	lines := strings.SplitAfter(content(path), "\n")
	for i, rec := range recs {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		if want := map[string]any(rec.Payload.After.(opencdc.StructuredData)); !reflect.DeepEqual(got, want) {
			t.Errorf("line %d: got %v, want %v", i, got, want)
		}
		var same bytes.Buffer
		e := json.NewEncoder(&same)
		e.SetEscapeHTML(false)
		if err := e.Encode(got); err != nil {
			t.Fatal(err)
		}
		if want := strings.ReplaceAll(same.String(), `\u2028`, "\u2028"); lines[i] != want {
			t.Errorf("line %d: got %s, encoding/json writes %s", i, lines[i], want)
		}
	}
}

func TestRecords(t *testing.T) {
	for i, rec := range []opencdc.Record{
		{Position: opencdc.Position("p\xff"), Operation: opencdc.OperationUpdate, Metadata: opencdc.Metadata{"b": "<1>", "a": "2\n"}, Key: opencdc.RawData("k\x00"), Payload: opencdc.Change{Before: opencdc.RawData{}, After: opencdc.StructuredData{"a": "x", "f": 0.5}}},
		{Position: opencdc.Position("p"), Operation: opencdc.OperationDelete, Key: opencdc.StructuredData{"id": "1"}, Payload: opencdc.Change{Before: opencdc.StructuredData{}, After: opencdc.RawData("a\nb")}},
		{Position: opencdc.Position("p"), Metadata: opencdc.Metadata{}},
	} {
		text, err := encoded(t, file.Records, rec)
		if err != nil {
			t.Fatal(err)
		}
		var got, want opencdc.Record
		if err := errors.Join(got.UnmarshalJSON([]byte(text)), want.UnmarshalJSON(rec.Bytes())); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("record %d: got %#v, want %#v", i, got, want)
		}
		if rec.Key != nil && !reflect.DeepEqual(got, rec) {
			t.Errorf("record %d: got %#v, want what was written, %#v", i, got, rec)
		}
	}
	for want, rec := range map[string]opencdc.Record{
		"the value at .payload.after.a: ":    fields("a", math.NaN()),
		`the value at .metadata.a: `:         {Metadata: opencdc.Metadata{"a": "\xff"}},
		`the value at .metadata["\xff"]: `:   {Metadata: opencdc.Metadata{"\xff": "a"}},
		"the value at .key.k[0]: ":           {Key: opencdc.StructuredData{"k": []any{"\xff"}}},
		"the value at .payload.before.b: ":   {Payload: opencdc.Change{Before: opencdc.StructuredData{"b": math.Inf(1)}}},
		"the value at .payload.before.b.a.a": {Payload: opencdc.Change{Before: opencdc.StructuredData{"b": nested(9998)}}},
	} {
		_, err := encoded(t, file.Records, rec)
		wantError(t, err, want, "records")
	}
	// Readers accept the deepest record that is written.
	text, err := encoded(t, file.Records, fields("v", nested(9997)))
	if err == nil {
		var got opencdc.Record
		err = got.UnmarshalJSON([]byte(text))
	}
	if err != nil {
		t.Errorf("a record of 10,000 levels: %.200v", fmt.Sprint(err))
	}
}
