package typenote_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/typenote"
)

// roller makes random records.
type roller struct{ *rand.Rand }

var keys = []string{"", "a", "b", "a.b", "a/b", `"`, `\`, "\x00", "0", "0-3", "nil", "int64", "ключ", "\ufffd", "!"}

func (r roller) record() opencdc.Record {
	rec := opencdc.Record{
		Position:  [](opencdc.Position){nil, {}, opencdc.Position("p"), {0, 255}}[r.IntN(4)],
		Operation: opencdc.Operation(r.IntN(6)),
		Key:       r.data(),
		Payload:   opencdc.Change{Before: r.data(), After: r.data()},
	}
	if r.IntN(4) > 0 {
		rec.Metadata = opencdc.Metadata{}
		for range r.IntN(4) {
			rec.Metadata[r.key()] = []string{"", "value", "\xff\xfe", "\x00"}[r.IntN(4)]
		}
	}
	return rec
}

func (r roller) key() string { return keys[r.IntN(len(keys))] }

func (r roller) data() opencdc.Data {
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
		return opencdc.RawData(nil)
	case 2:
		return opencdc.RawData{}
	case 3:
		return opencdc.RawData("raw\xff")
	case 4:
		return opencdc.StructuredData(nil)
	default:
		return opencdc.StructuredData(r.object(3))
	}
}

func (r roller) object(depth int) map[string]any {
	m := map[string]any{}
	for range r.IntN(6) {
		m[r.key()] = r.value(depth)
	}
	return m
}

func (r roller) value(depth int) any {
	kind := r.IntN(16)
	if depth == 0 {
		kind = 15
	}
	switch kind {
	case 0:
		return r.object(depth - 1)
	case 1:
		return opencdc.StructuredData(r.object(depth - 1))
	case 2:
		s := make([]any, r.IntN(8))
		for i := range s {
			if s[i] = r.value(depth - 1); i > 0 && r.IntN(2) == 0 {
				s[i] = s[i-1]
			}
		}
		return s
	case 3:
		return []map[string]any{r.object(depth - 1), nil, r.object(depth - 1)}
	case 4:
		return map[string]map[string]any{r.key(): r.object(depth - 1)}
	case 5:
		return []int64{r.Int64(), int64(r.IntN(10)), -r.Int64()}
	case 6:
		return map[string][]float64{r.key(): {r.NormFloat64(), float64(r.IntN(10))}}
	case 7:
		return int64(r.Uint64())
	case 8:
		return r.Uint64()
	case 9:
		return math.Float64frombits(r.Uint64() &^ (1 << 62)) // finite
	case 10:
		return math.Float32frombits(r.Uint32() &^ (1 << 30))
	default:
		return values[r.IntN(len(values))].value
	}
}

// Random records are restored exactly, however they were decoded.
func TestRestore_random(t *testing.T) {
	for seed := range uint64(3000) {
		testRandom(t, seed)
	}
}

func testRandom(t *testing.T, seed uint64) {
	t.Helper()
	r := roller{rand.New(rand.NewPCG(seed, 0))}.record()
	text, notes := notesOn(t, r)
	if again, _ := notesOn(t, r); text != again {
		t.Errorf("seed %d: the notes are %s, and then %s", seed, text, again)
	}
	for name, decode := range decoders {
		m, err := decode(mapOf(r))
		if err != nil {
			t.Fatalf("seed %d, %s: %v", seed, name, err)
		}
		if got, err := typenote.Restore(m, notes); err != nil || !same(got, r) {
			t.Errorf("seed %d, %s: %#v\nrestored %#v, %v\nnotes %s", seed, name, r, got, err, text)
		}
	}
}

// Whatever a record and the notes on it hold, Restore returns a record or an error.
// If it returns a record, the notes on that record restore it again.
func FuzzRestore(f *testing.F) {
	for seed := range uint64(20) {
		r := roller{rand.New(rand.NewPCG(seed, 0))}.record()
		m, err := json.Marshal(mapOf(r))
		if err != nil {
			f.Fatal(err)
		}
		text, _ := notesOn(f, r)
		f.Add(m, []byte(text), seed%2 == 0)
	}
	f.Add([]byte(`{"position":null,"operation":"create","metadata":null,"key":{"a":[1,2]},"payload":{"before":null,"after":null}}`),
		[]byte(`{"key":{"a":["[]time.Duration",{"0-1":"time.Duration"}]}}`), true)
	f.Fuzz(func(t *testing.T, record, noted []byte, asNumbers bool) {
		var m, notes map[string]any
		if json.Unmarshal(record, &m) != nil || json.Unmarshal(noted, &notes) != nil {
			t.Skip()
		}
		if asNumbers {
			m, _ = useNumber(m)
		}
		if r, err := typenote.RestoreUntyped(m); err == nil {
			_ = fmt.Sprint(r)
		}
		r, err := typenote.Restore(m, notes)
		if err != nil {
			return
		}
		_, notes = notesOn(t, r)
		if again, err := typenote.Restore(mapOf(r), notes); err != nil || !same(again, r) {
			t.Errorf("restored %#v, and then %#v, %v", r, again, err)
		}
	})
}
