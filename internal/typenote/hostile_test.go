package typenote_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// A long note that stands for many values is parsed once, and they share what it says.
func TestRestore_longNote(t *testing.T) {
	const n, size = 2000, 300_000
	odd := strings.Repeat("\xff", size)
	zeros := strings.Repeat("0", size)
	for note, test := range map[string]struct {
		written any
		want    string // of an error, or "" for none
		value   any
	}{
		"string " + base64.StdEncoding.EncodeToString([]byte(odd)): {"\ufffd", "", odd},
		"json.Number 1." + zeros:                                   {1.0, "", json.Number("1." + zeros)},
		"json.Number 1.0" + zeros:                                  {int64(1), "", json.Number("1.0" + zeros)},
		"json.Number 1" + zeros:                                    {1.0, "in the note on it", nil},
		"int64 " + zeros + "9007199254740993":                      {9007199254740992.0, "no integer", nil},
		"time.Time " + zeros + "3600 local":                        {"2024-01-01T00:00:00+01:00", "no offset", nil},
		"string " + zeros[:size-1]:                                 {"\ufffd", "illegal base64", nil},
	} {
		elements := make([]any, n)
		for i := range elements {
			elements[i] = map[string]any{"a": test.written}
		}
		for _, list := range []any{elements, elements[:1]} {
			last := len(list.([]any)) - 1
			notes := map[string]any{"v": map[string]any{fmt.Sprint("0-", last): map[string]any{"a": note}}}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := typenote.Restore(mapOf(opencdc.Record{Key: opencdc.StructuredData{"v": list}}), map[string]any{"key": notes})
			runtime.ReadMemStats(&after)
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 16 {
				t.Errorf("%.20s: it took %d MiB", note, mib)
			}
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%.20s: %v, want %q", note, err, test.want)
				}
				continue
			}
			if err != nil {
				t.Errorf("%.20s: %v", note, err)
				continue
			}
			restored := r.Key.(opencdc.StructuredData)["v"].([]any)
			if got := restored[last].(map[string]any)["a"]; got != test.value {
				t.Errorf("%.20s: element %d is another one", note, last)
			}
		}
	}
}

// An error does not grow with the record.
func TestRestore_shortErrors(t *testing.T) {
	long := strings.Repeat("x\n", 1<<16)
	digits := json.Number(strings.Repeat("9", 1<<17))
	for _, test := range []struct{ value, note any }{
		{1, "!" + long}, {1, long}, {digits, "int64"}, {digits, "int64 9007199254740993"}, {digits, "json.Number 5"}, {digits, "float64 -0"},
		{digits, "float32"}, {long, "time.Time"}, {long, "string eA=="}, {map[string]any{}, map[string]any{long: "int"}},
	} {
		_, err := typenote.Restore(mapOf(opencdc.Record{Key: opencdc.StructuredData{"v": test.value}}), map[string]any{"key": map[string]any{"v": test.note}})
		if err == nil || len(err.Error()) > 1000 || !strings.HasPrefix(err.Error(), `key["v"]: `) {
			t.Errorf("%.20v with the note %.20v: %.500v", test.value, test.note, err)
		}
	}
	if err := errors.New("short"); typenote.Shorten(err) != err {
		t.Error("a short error was replaced")
	}
}

// Notes take no more memory than they may, however often a value occurs.
func TestAppend_sharedText(t *testing.T) {
	odd := strings.Repeat("\xff", 1<<18)
	for name, shared := range map[string]any{"string": odd, "json.Number": json.Number(strings.Repeat("1", 1<<18))} {
		data := opencdc.StructuredData{}
		for i := range 500 {
			data[fmt.Sprint(i)] = shared
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := typenote.Append(nil, &opencdc.Record{Key: data})
		runtime.ReadMemStats(&after)
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; err == nil || !strings.Contains(err.Error(), "a megabyte") || mib > 32 {
			t.Errorf("%s: %v, and it took %d MiB", name, err, mib)
		}
	}
}

// Notes that are nested too deeply to be read are not written. Data that needs no notes may
// be deeper.
func TestAppend_depth(t *testing.T) {
	for name, test := range map[string]struct {
		wrap    func(any) any
		deepest int // levels with a note on the innermost value
	}{
		"map":             {func(v any) any { return map[string]any{"a": v} }, 9_999},
		"slice":           {func(v any) any { return []any{v} }, 9_999},
		"structured data": {func(v any) any { return opencdc.StructuredData{"a": v} }, 5_000},
		"slice of maps":   {func(v any) any { return []map[string]any{{"a": v}} }, 3_333},
	} {
		nested := func(levels int, v any) *opencdc.Record {
			for range levels - 1 {
				v = test.wrap(v)
			}
			return &opencdc.Record{Operation: 1, Key: opencdc.StructuredData{"v": v}}
		}
		notes, err := typenote.Append([]byte(`{"v":0`), nested(test.deepest, 1))
		var read any
		if err == nil {
			err = json.Unmarshal(append(notes, '}'), &read)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := typenote.Append(nil, nested(test.deepest+1, 1)); err == nil || !strings.Contains(err.Error(), "too deeply") {
			t.Errorf("%s: one level deeper: %v", name, err)
		}
		if _, err := typenote.Append(nil, nested(test.deepest+1, "x")); err != nil && test.deepest > 9_000 {
			t.Errorf("%s: without notes: %v", name, err)
		}
	}
}
