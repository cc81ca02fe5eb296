package funnel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/fake"
)

// typedRecord returns a record with values that JSON does not carry.
func typedRecord() opencdc.Record {
	return opencdc.Record{
		Position:  opencdc.Position("po\xffs"),
		Operation: opencdc.OperationUpdate,
		Metadata:  opencdc.Metadata{"a": "b", "bad": "\xff"},
		Key:       opencdc.StructuredData{"id": int64(9007199254740993), "a.b": uint8(1), "": nil, "\x00": []byte{}},
		Payload: opencdc.Change{
			Before: opencdc.RawData(nil),
			After: opencdc.StructuredData{
				"name": "text", "price": 1.5, "count": 2.0, "small": float32(0.1), "at": time.Unix(1, 2).UTC(),
				"rows": []any{map[string]any{"n": 1}, map[string]any{"n": 2}}, "tags": []string{"a"}, "none": []any(nil),
				"number": json.Number("1.50"), "deep": opencdc.StructuredData{"max": uint64(math.MaxUint64)},
			},
		},
	}
}

// throughJSON stores a record as JSON and decodes it again.
func throughJSON(t *testing.T, rec opencdc.Record) opencdc.Record {
	t.Helper()
	var decoded opencdc.Record
	if err := json.Unmarshal(rec.Bytes(), &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// withNumbers stores a dead letter as JSON and decodes it with the digits of its numbers.
func withNumbers(t *testing.T, letter opencdc.Record) opencdc.Record {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(letter.Payload.After.Bytes()))
	d.UseNumber()
	var after map[string]any
	if err := d.Decode(&after); err != nil {
		t.Fatal(err)
	}
	letter.Payload.After = opencdc.StructuredData(after)
	return letter
}

// parse parses a dead letter, which must be valid.
func parse(t *testing.T, letter opencdc.Record) funnel.DeadLetter {
	t.Helper()
	parsed, err := funnel.ParseDeadLetter(letter)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// A dead letter becomes the record again, in memory and after it was JSON.
func TestParseDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := typedRecord()
		rec.Metadata.SetConduitSourceConnectorID("connector")
		letter := deadLettersOf(t, fake.ErrTest, rec)[0]
		if field := letter.Metadata[funnel.MetadataDeadLetter]; !utf8.ValidString(field) {
			t.Errorf("the field is not valid UTF-8: %q", field)
		}
		want := funnel.DeadLetter{
			Record: rec, Version: funnel.VersionAsGiven, TypesKnown: true,
			TaskID: "p", Reason: fake.ErrTest.Error(), SourceID: "connector", Time: time.Now().UTC(),
		}
		for name, letter := range map[string]opencdc.Record{
			"memory": letter, "JSON": throughJSON(t, letter), "json.Number": withNumbers(t, letter),
		} {
			before, err := deepcopy.Record(letter)
			fake.WantNoError(t, err)
			got := parse(t, letter)
			got.Time = got.Time.UTC()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %#v\nwant %#v", name, got, want)
			}
			if !reflect.DeepEqual(letter, before) {
				t.Errorf("%s: the letter has changed", name)
			}
		}
		structured := letter.Payload.After.(opencdc.StructuredData)
		letter.Payload.After = &structured
		if got := parse(t, letter); !reflect.DeepEqual(got.Record, rec) {
			t.Errorf("behind a pointer: got %#v", got.Record)
		}
	})
}

// For a record of strings, a dead letter grows by a few bytes, however large the record is.
func TestParseDeadLetter_strings(t *testing.T) {
	rec := opencdc.Record{Position: opencdc.Position("1"), Operation: opencdc.OperationCreate, Key: opencdc.RawData("key"),
		Payload: opencdc.Change{After: opencdc.StructuredData{"a": "b", "m": map[string]any{"c": []any{"d", true, nil, 0.5}}}}}
	letter := deadLettersOf(t, fake.ErrTest, rec)[0]
	if field := letter.Metadata[funnel.MetadataDeadLetter]; field != `{"holds":"given"}` {
		t.Errorf("the field is %s", field)
	}
	if got := parse(t, throughJSON(t, letter)); !reflect.DeepEqual(got.Record, rec) {
		t.Errorf("got %#v", got.Record)
	}
}

// A letter says which version of the record it holds.
func TestParseDeadLetter_version(t *testing.T) {
	change := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		rec.Payload.After = opencdc.RawData("changed")
		return sdk.SingleRecord(rec)
	})
	split := fake.Each(fake.Split(2))
	fail := fake.Each(fake.Fail)
	custom := func(nack func(*funnel.Batch)) *funnel.TaskNode {
		return fake.Custom("p", func(_ context.Context, b *funnel.Batch) error { nack(b); return nil })
	}
	for name, tt := range map[string]struct {
		nodes   []*funnel.TaskNode
		version funnel.DeadLetterVersion
		payload string
	}{
		"processor":        {[]*funnel.TaskNode{fake.Through("a", change), fake.Through("p", fail)}, funnel.VersionAsGiven, "changed"},
		"piece":            {[]*funnel.TaskNode{fake.Through("a", split), fake.Through("p", fail)}, funnel.VersionBeforeSplit, "1"},
		"changed piece":    {[]*funnel.TaskNode{fake.Through("a", split), fake.Through("b", change), fake.Through("p", fail)}, funnel.VersionBeforeSplit, "1"},
		"piece of changed": {[]*funnel.TaskNode{fake.Through("b", change), fake.Through("a", split), fake.Through("p", fail)}, funnel.VersionBeforeSplit, "changed"},
		"piece of a piece": {[]*funnel.TaskNode{fake.Through("a", split), fake.Through("b", split), fake.Through("p", fail)}, funnel.VersionBeforeSplit, "1"},
		"single piece": {[]*funnel.TaskNode{fake.Through("a", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			return sdk.MultiRecord{rec}
		})), fake.Through("p", fail)}, funnel.VersionAsGiven, "1"},
		"custom": {[]*funnel.TaskNode{custom(func(b *funnel.Batch) { b.Nack(0) })}, funnel.VersionAsGiven, "1"},
		"split and nacked": {[]*funnel.TaskNode{custom(func(b *funnel.Batch) {
			b.SplitRecord(0, fake.Records("a", "b"))
			b.Nack(1)
		})}, funnel.VersionBeforeSplit, "1"},
		"nacked and split": {[]*funnel.TaskNode{custom(func(b *funnel.Batch) {
			b.Nack(0)
			b.SplitRecord(0, fake.Records("a", "b"))
		})}, funnel.VersionBeforeSplit, "1"},
	} {
		for _, opts := range [][]funnel.WorkerOption{nil, {funnel.WithWholeBatches()}} {
			j := &fake.Journal{}
			dead := fake.NewDestination(j, "dlq")
			nodes := append([]*funnel.TaskNode{fake.From(fake.SourceOf(j, "1"))}, tt.nodes...)
			nodes = append(nodes, fake.Out(j))
			fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, fake.Chain(nodes...), fake.Queue(dead), opts...)))
			for _, n := range nodes {
				n.Next = nil
			}
			got := parse(t, throughJSON(t, dead.Written[0]))
			if got.Version != tt.version || string(got.Record.Payload.After.Bytes()) != tt.payload || got.TaskID != "p" {
				t.Errorf("%s: %q %v, of task %q", name, got.Record.Payload.After.Bytes(), got.Version, got.TaskID)
			}
		}
	}
}

// A refused record that is written to a queue directly says what it holds, too.
func TestDLQ_nackVersion(t *testing.T) {
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	b := fake.NackedBatch("1", "2")
	b.SplitRecord(1, fake.Records("2a", "2b"))
	if n, err := fake.Queue(dead).Nack(t.Context(), b, "p"); n != 2 || err != nil {
		t.Fatalf("%d records, %v", n, err)
	}
	for i, want := range []funnel.DeadLetterVersion{funnel.VersionAsGiven, funnel.VersionBeforeSplit} {
		if got := parse(t, dead.Written[i]); got.Version != want || got.SourceID != "" {
			t.Errorf("letter %d holds the record %v; source %q", i, got.Version, got.SourceID)
		}
	}
}

// Letters without the field have the types of their decoder.
func TestParseDeadLetter_withoutField(t *testing.T) {
	letter := deadLettersOf(t, fake.ErrTest, typedRecord())[0]
	delete(letter.Metadata, funnel.MetadataDeadLetter)
	got := parse(t, letter)
	if got.TypesKnown || got.Version != funnel.VersionUnknown || got.TaskID != "p" || got.Record.Key.(opencdc.StructuredData)["id"] != int64(9007199254740993) {
		t.Errorf("in memory: %#v", got)
	}
	got = parse(t, throughJSON(t, letter))
	after := got.Record.Payload.After.(opencdc.StructuredData)
	if got.TypesKnown || after["count"] != 2.0 || after["tags"].([]any)[0] != "a" || got.Record.Operation != opencdc.OperationUpdate {
		t.Errorf("from JSON: %#v", got)
	}
}

// letterWith returns a dead letter after a change.
func letterWith(t *testing.T, change func(letter *opencdc.Record, content map[string]any)) opencdc.Record {
	t.Helper()
	letter := throughJSON(t, deadLettersOf(t, fake.ErrTest, opencdc.Record{
		Position: opencdc.Position("1"),
		Payload:  opencdc.Change{After: opencdc.StructuredData{"id": int64(1)}},
	})[0])
	letter.Position = opencdc.Position("line 5")
	change(&letter, letter.Payload.After.(opencdc.StructuredData))
	return letter
}

// A record that is not a dead letter, or cannot be restored, is an error that says why.
func TestParseDeadLetter_errors(t *testing.T) {
	field := func(text string) func(*opencdc.Record, map[string]any) {
		return func(l *opencdc.Record, _ map[string]any) { l.Metadata[funnel.MetadataDeadLetter] = text }
	}
	after := func(content map[string]any) map[string]any {
		return content["payload"].(map[string]any)["after"].(map[string]any)
	}
	for name, tt := range map[string]struct {
		change func(letter *opencdc.Record, content map[string]any)
		want   []string
	}{
		"raw payload": {func(l *opencdc.Record, _ map[string]any) { l.Payload.After = opencdc.RawData("x") }, []string{"no dead letter", "RawData"}},
		"no payload":  {func(l *opencdc.Record, _ map[string]any) { l.Payload.After = nil }, []string{"no dead letter"}},
		"no metadata": {func(l *opencdc.Record, _ map[string]any) { l.Metadata = nil }, []string{"no dead letter", "conduit.dlq.nack.error"}},
		"no task": {func(l *opencdc.Record, _ map[string]any) {
			l.Metadata = opencdc.Metadata{opencdc.MetadataConduitDLQNackError: "x"}
		}, []string{"no dead letter"}},
		"no reason": {func(l *opencdc.Record, _ map[string]any) {
			l.Metadata = opencdc.Metadata{opencdc.MetadataConduitDLQNackNodeID: "x"}
		}, []string{"no dead letter"}},
		"time": {func(l *opencdc.Record, _ map[string]any) { l.Metadata[opencdc.MetadataCreatedAt] = "x" }, []string{opencdc.MetadataCreatedAt}},
		"long time": {func(l *opencdc.Record, _ map[string]any) {
			l.Metadata[opencdc.MetadataCreatedAt] = strings.Repeat("x", 10_000)
		}, []string{opencdc.MetadataCreatedAt}},
		"long reason": {field(`{"holds":"given","untyped":"` + strings.Repeat("x", 10_000) + `"}`), []string{"types were not recorded"}},
		"no before": {func(_ *opencdc.Record, c map[string]any) {
			delete(c["payload"].(map[string]any), "before")
		}, []string{"before is missing"}},
		"empty field":     {field(""), []string{"funnel.dead_letter", "invalid"}},
		"no JSON":         {field("{"), []string{"funnel.dead_letter", "invalid"}},
		"more JSON":       {field(`{"holds":"given"}{}`), []string{"funnel.dead_letter", "invalid"}},
		"array":           {field("[]"), []string{"funnel.dead_letter", "invalid"}},
		"null":            {field("null"), []string{"funnel.dead_letter", "null"}},
		"no version":      {field("{}"), []string{"funnel.dead_letter", "version"}},
		"unknown version": {field(`{"holds":"tomorrow"}`), []string{"funnel.dead_letter", "version"}},
		"object version":  {field(`{"holds":{}}`), []string{"funnel.dead_letter", "version"}},
		"unknown member":  {field(`{"holds":"given","color":"red"}`), []string{"color"}},
		"no types":        {field(`{"holds":"given","untyped":"too large"}`), []string{"too large"}},
		"other type":      {field(`{"holds":"given","operation":"unset","after":{"id":"!main.ID"}}`), []string{`after["id"]`, "main.ID"}},
		"no type":         {field(`{"holds":"given"}`), []string{`after["id"]`, "no note"}},
		"no record":       {func(_ *opencdc.Record, c map[string]any) { clear(c) }, []string{"position is missing"}},
		"rounded":         {func(_ *opencdc.Record, c map[string]any) { after(c)["id"] = 9007199254740992.0 }, []string{`after["id"]`, "9007199254740992"}},
		"edited":          {func(_ *opencdc.Record, c map[string]any) { after(c)["id"] = "x" }, []string{`after["id"]`, "not an integer"}},
		"removed":         {func(_ *opencdc.Record, c map[string]any) { clear(after(c)) }, []string{"after", `"id"`}},
	} {
		got, err := funnel.ParseDeadLetter(letterWith(t, tt.change))
		fake.WantError(t, err, nil, append(tt.want, `"line 5"`)...)
		if !reflect.DeepEqual(got, funnel.DeadLetter{}) {
			t.Errorf("%s: there is a result: %v", name, got)
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
	// Harmless changes are no errors.
	for _, change := range []func(*opencdc.Record, map[string]any){
		func(l *opencdc.Record, _ map[string]any) { delete(l.Metadata, opencdc.MetadataCreatedAt) },
		func(l *opencdc.Record, _ map[string]any) { delete(l.Metadata, opencdc.MetadataConduitDLQNackError) },
		func(_ *opencdc.Record, c map[string]any) { after(c)["new"] = "text" },
		func(_ *opencdc.Record, c map[string]any) { after(c)["id"] = 5.0 },
	} {
		_, err := funnel.ParseDeadLetter(letterWith(t, change))
		fake.WantNoError(t, err)
	}
}

// A record whose types cannot be recorded still gets a dead letter, which says so.
func TestDLQ_recordWithoutNotes(t *testing.T) {
	large := map[string]any{}
	for i := range 100_000 {
		large[strings.Repeat("x", i%1000)+string(rune('a'+i%26))+time.Duration(i).String()] = i
	}
	letter := deadLettersOf(t, fake.ErrTest, opencdc.Record{Position: opencdc.Position("1"), Key: opencdc.StructuredData(large)})[0]
	if field := letter.Metadata[funnel.MetadataDeadLetter]; field != `{"holds":"given","untyped":"the notes take more than a megabyte"}` {
		t.Errorf("the field is %.100s", field)
	}
	_, err := funnel.ParseDeadLetter(letter)
	fake.WantError(t, err, nil, "more than a megabyte")
}

// The phrases for versions can stand in a sentence.
func TestDeadLetterVersion_String(t *testing.T) {
	for v, want := range map[funnel.DeadLetterVersion]string{
		funnel.VersionUnknown: "in an unknown version", funnel.VersionAsRead: "as it was read",
		funnel.VersionAsGiven: "as the task was given it", funnel.VersionBeforeSplit: "before it was split",
		-1: "DeadLetterVersion(-1)", 4: "DeadLetterVersion(4)",
	} {
		if got := v.String(); got != want {
			t.Errorf("%d is %q, want %q", int(v), got, want)
		}
	}
}

// Whatever a dead letter holds, ParseDeadLetter returns a result or an error.
func FuzzParseDeadLetter(f *testing.F) {
	f.Add(`{"holds":"given","key":{"a":"int"}}`, []byte(`{"position":"","operation":"create","metadata":null,"key":{"a":1},"payload":{}}`))
	f.Add(`{"holds":"read","untyped":"x"}`, []byte(`{}`))
	f.Add(`{"holds":[]}`, []byte(`null`))
	f.Fuzz(func(t *testing.T, field string, content []byte) {
		var after map[string]any
		if json.Unmarshal(content, &after) != nil {
			t.Skip()
		}
		letter, err := funnel.ParseDeadLetter(opencdc.Record{
			Metadata: opencdc.Metadata{funnel.MetadataDeadLetter: field},
			Payload:  opencdc.Change{After: opencdc.StructuredData(after)},
		})
		if err != nil && (letter.TypesKnown || !strings.HasPrefix(err.Error(), `dead letter "": `)) {
			t.Errorf("%v, %v", letter, err)
		}
	})
}
