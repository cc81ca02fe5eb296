package file_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// No number loses a digit.
func TestSource_numbers(t *testing.T) {
	content := ""
	cases := []struct {
		text string
		want any
	}{
		{"0", int64(0)},
		{"-1", int64(-1)},
		{"9007199254740993", int64(9007199254740993)},
		{"9223372036854775807", int64(math.MaxInt64)},
		{"-9223372036854775808", int64(math.MinInt64)},
		{"9223372036854775808", uint64(9223372036854775808)},
		{"18446744073709551615", uint64(math.MaxUint64)},
		{"18446744073709551616", json.Number("18446744073709551616")},
		{"-9223372036854775809", json.Number("-9223372036854775809")},
		{"-0", math.Copysign(0, -1)},
		{"0.1", 0.1},
		{"-1.50", -1.5},
		{"0.000", 0.0},
		{"1e2", 100.0},
		{"1.7976931348623157E+308", math.MaxFloat64},
		{"5e-324", math.SmallestNonzeroFloat64},
		{"0e999999999999", 0.0},
		{"1e400", json.Number("1e400")},
		{"-1e400", json.Number("-1e400")},
		{"1e-400", json.Number("1e-400")},
		{"0.10000000000000001", json.Number("0.10000000000000001")},
		{"0.1000000000000000055511151231257827", json.Number("0.1000000000000000055511151231257827")},
		{"9007199254740993.0", json.Number("9007199254740993.0")},
		{"12345678.12345678", 12345678.12345678},
		{"123456789.123456789", json.Number("123456789.123456789")},
		{"4.9e-324", json.Number("4.9e-324")},
		{"1e99999999999999999999", json.Number("1e99999999999999999999")},
	}
	for _, tc := range cases {
		content += fmt.Sprintf("{\"n\":%s}\n", tc.text)
	}
	recs := mustReadAll(t, opened(t, write(t, t.TempDir(), "a", content), file.JSONLines, nil))
	for i, tc := range cases {
		got := recs[i].Payload.After.(opencdc.StructuredData)["n"]
		if !reflect.DeepEqual(got, tc.want) || fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: got %T %v, want %T %v", tc.text, got, got, tc.want, tc.want)
		}
	}
}

// Whole records come back as they were, but for the position.
func TestSource_records(t *testing.T) {
	recs := []opencdc.Record{
		{
			Operation: opencdc.OperationUpdate,
			Metadata:  opencdc.Metadata{"a": "b", "empty": ""},
			Key:       opencdc.RawData("key\xff"),
			Payload:   opencdc.Change{Before: opencdc.StructuredData{"n": int64(1)}, After: opencdc.StructuredData{"list": []any{"x", nil, true}}},
		},
		{Operation: opencdc.OperationDelete, Metadata: opencdc.Metadata{}, Key: opencdc.StructuredData{"id": "1"}},
		{Operation: opencdc.OperationSnapshot, Metadata: opencdc.Metadata{file.MetadataPath: "own", file.MetadataLine: "9", file.MetadataError: "own"}, Payload: opencdc.Change{After: opencdc.RawData{}}},
	}
	content := ""
	for _, rec := range recs {
		rec.Position = opencdc.Position("old")
		content += string(rec.Bytes()) + "\n"
	}
	content += "{}\n{\"payload\":null,\"metadata\":null}\n"
	path := write(t, t.TempDir(), "a", content)
	got := mustReadAll(t, opened(t, path, file.Records, nil))
	for i := range recs {
		want := recs[i].Clone()
		if i < 2 {
			want.Metadata[file.MetadataPath] = path
			want.Metadata[file.MetadataLine] = fmt.Sprint(i + 1)
		}
		if _, err := file.ParsePosition(got[i].Position); err != nil {
			t.Error(err)
		}
		got[i].Position = nil
		want.Position = nil
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("got  %#v\nwant %#v", got[i], want)
		}
	}
	for _, rec := range got[3:] {
		if rec.Operation != opencdc.OperationCreate || rec.Key != nil || rec.Payload.After != nil || rec.Metadata[file.MetadataError] != "" {
			t.Errorf("got %+v", rec)
		}
	}
}

// What is no record is passed on raw, with the reason.
func TestSource_damagedRecords(t *testing.T) {
	for line, reason := range map[string]string{
		`{"operation":"jump"}`:           `"operation": operation "jump": unknown operation`,
		`{"operation":1}`:                `"operation": it is not a string`,
		`{"metadata":{"a":1}}`:           `"metadata": "a" is not a string`,
		`{"metadata":[]}`:                `"metadata": it is not an object`,
		`{"key":"%"}`:                    `"key": the string is not valid base64`,
		`{"key":1}`:                      `"key": it is neither an object nor a string`,
		`{"payload":[]}`:                 `"payload": it is not an object`,
		`{"payload":{"later":{}}}`:       `"payload": "later": a payload has no such member`,
		`{"payload":{"before":[]}}`:      `"payload": "before": it is neither an object nor a string`,
		`{"unknown":1}`:                  `"unknown": a record has no such member`,
		`{"key":{"a":1},"key":{"a":1}}`:  "",
		`[{"key":{"a":1},"metadata":{}}`: `the JSON value is not an object`,
	} {
		path := write(t, t.TempDir(), "a", line+"\n")
		recs := mustReadAll(t, opened(t, path, file.Records, nil))
		got := recs[0]
		if len(recs) != 1 || string(got.Payload.After.(opencdc.RawData)) != line || got.Key != nil || got.Operation != opencdc.OperationCreate {
			t.Fatalf("%s: got %+v", line, recs)
		}
		if text := got.Metadata[file.MetadataError]; text == "" || reason != "" && text != reason {
			t.Errorf("%s: got the reason %q", line, text)
		}
	}
}

// The metadata names path, line and reason.
func TestSource_metadata(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "h\n\n\"1\n2\"\n\"x\n3\"y\n\n4\n")
	write(t, dir, "b", "h\n5\n")
	got := ""
	for _, rec := range mustReadAll(t, opened(t, dir, file.CSV, nil)) {
		reason := rec.Metadata[file.MetadataError]
		if want := 2 + min(len(reason), 1); len(rec.Metadata) != want {
			t.Errorf("got %v", rec.Metadata)
		}
		got += fmt.Sprintf("%s:%s: %s\n", rec.Metadata[file.MetadataPath][len(dir)+1:], rec.Metadata[file.MetadataLine], reason)
	}
	want := `a:3: 
a:5: something other than a separator or a line end follows a closing quote
a:6: a field without quotes around it holds a quote
a:8: 
b:2: 
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// All metadata can be written as JSON, and none is as long as the record.
func TestSource_hostileMetadata(t *testing.T) {
	long := strings.Repeat("n", 100_000)
	for _, line := range []string{
		`{"` + long + `":1}`,
		`{"` + long + `":1,"` + long + `":2}`,
		`{"operation":"` + long + `"}`,
		`{"metadata":{"` + long + `":1}}`,
		"{\"\xff\":1}",
	} {
		path := write(t, t.TempDir(), "a\xff", line+"\n")
		for _, rec := range mustReadAll(t, opened(t, path, file.Records, nil)) {
			if rec.Metadata[file.MetadataError] == "" {
				t.Errorf("%.50s is no damage", line)
			}
			for name, text := range rec.Metadata {
				if len(text) > 1000 || !utf8.ValidString(text) {
					t.Errorf("%s has %d bytes: %.100q", name, len(text), text)
				}
			}
		}
	}
}

// What is nested so deeply that its dead letter could not be written and read again is damaged.
func TestSource_depth(t *testing.T) {
	nested := func(levels int) string {
		return `{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}"
	}
	for _, tc := range []struct {
		format    file.Format
		text      string
		isDamaged bool
	}{
		{file.JSONLines, nested(9900), false},
		{file.JSONLines, nested(9901), true},
		{file.JSONLines, nested(100_000), true},
		{file.Records, `{"payload":{"after":` + nested(9996) + "}}", false},
		{file.Records, `{"payload":{"after":` + nested(9997) + "}}", true},
	} {
		path := write(t, t.TempDir(), "a", tc.text+"\n")
		rec := mustReadAll(t, opened(t, path, tc.format, nil))[0]
		if isDamaged := rec.Metadata[file.MetadataError] != ""; isDamaged != tc.isDamaged {
			t.Errorf("%v with %d bytes: got the reason %q", tc.format, len(tc.text), rec.Metadata[file.MetadataError])
		}
		if tc.isDamaged {
			continue
		}
		text, err := new(file.JSONEncoder).AppendRecord(nil, &opencdc.Record{Payload: opencdc.Change{After: opencdc.StructuredData(rec.Map())}})
		must(t, err)
		if tc.format == file.JSONLines {
			must(t, file.NewJSONDecoder().Record(text, new(opencdc.Record)))
		}
	}
}
