package jsonsize_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

func TestRecord_Random(t *testing.T) {
	seeds := uint64(3000)
	if raceEnabled {
		seeds = 500
	}
	for seed := range seeds {
		checkRandom(t, seed)
	}
}

func FuzzRecord_Structure(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkRandom)
}

// FuzzRecord_Values puts arbitrary text, bytes and numbers in every place that
// a value can have.
func FuzzRecord_Values(f *testing.F) {
	f.Add("key", "<text>", []byte("bytes"), 1e-7, float32(0.1), int64(-1), uint64(1))
	f.Add("\u2028\xff", "\x00\\\"\t", []byte{}, math.Inf(1), float32(math.Inf(-1)), int64(math.MinInt64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, key, s string, b []byte, f64 float64, f32 float32, i int64, u uint64) {
		if math.IsNaN(f64) || math.IsInf(f64, 0) {
			f64 = 0
		}
		values := []any{
			s, string(b), b, opencdc.RawData(b), f64, f32, i, int32(i), u, uint8(u), []string{s, key},
			map[string]string{key: s, s: key}, math.Float64frombits(u &^ (1 << 62)), math.Float32frombits(uint32(u)),
			time.Unix(i%1e11, i).UTC(), time.Unix(i%1e10, int64(u)),
		}
		d := opencdc.StructuredData{key: values, s: map[string]any{s: values, key: opencdc.StructuredData{key: s}}}
		mustMatch(t, d)
	})
}

func checkRandom(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	d := opencdc.StructuredData(randomMap(r, 5))
	mustMatch(t, d)
}

// mustMatch compares with what the data's own encoder prints, if it can.
func mustMatch(t *testing.T, d opencdc.StructuredData) {
	t.Helper()
	got := sizeOf(d)
	large, more := padded(d)
	if inGraph := sizeOf(large) - more; inGraph != got {
		t.Errorf("%d bytes, but %d as a part of large data", got, inGraph)
	}
	defer func() {
		if r := recover(); r != nil {
			t.Logf("not marshallable: %v", r)
		}
	}()
	if want := len(d.Bytes()); got != want {
		t.Errorf("%s: got %d, want %d", d.Bytes(), got, want)
	}
}

func random(r *rand.Rand, levels int) any {
	if levels == 0 {
		return randomScalar(r)
	}
	switch r.IntN(8) {
	case 0:
		return randomMap(r, levels)
	case 1:
		return opencdc.StructuredData(randomMap(r, levels))
	case 2, 3:
		s := make([]any, r.IntN(5))
		for i := range s {
			s[i] = random(r, levels-1)
		}
		return s
	case 4:
		return custom{A: random(r, levels-1), B: randomText(r)}
	default:
		return randomScalar(r)
	}
}

func randomMap(r *rand.Rand, levels int) map[string]any {
	m := make(map[string]any)
	for range r.IntN(5) {
		m[randomText(r)] = random(r, levels-1)
	}
	return m
}

func randomScalar(r *rand.Rand) any {
	n := int64(r.Uint64() >> r.IntN(64))
	scalars := []any{
		nil, n%2 == 0, n, -n, int(n), int8(n), int16(n), int32(n), uint(n), uint8(n), uint16(n), uint32(n), uint64(n),
		r.NormFloat64(), float64(n), float32(r.NormFloat64()), float32(n), math.Pow(10, float64(r.IntN(60)-30)),
		randomText(r), []byte(randomText(r)), opencdc.RawData(randomText(r)), []string{randomText(r), randomText(r)},
		map[string]string{randomText(r): randomText(r)}, time.Unix(n%1e11, n%1e9), time.Unix(n%1e11, n%10*1e8).UTC(),
		[]int64{n, -n}, &n, time.Duration(n), []any(nil), map[string]any(nil), []byte(nil),
	}
	return scalars[r.IntN(len(scalars))]
}

func randomText(r *rand.Rand) string {
	pieces := []string{"a", "Z", " ", "<", ">", "&", `"`, `\`, "\n", "\x00", "\x1f", "\x7f", "é", "€", "😀", "\u2028", "\u2029", "\ufffd",
		string([]byte{byte(r.IntN(256))}), string([]byte{0xe2, 0x80, byte(r.IntN(256))}), fmt.Sprint(r.Int()), "plain text"}
	var s string
	for range r.IntN(12) {
		s += pieces[r.IntN(len(pieces))]
	}
	return s
}

// Whatever byte stands anywhere in a text, alone or beside another one of its kind.
func TestRecord_EveryByteEverywhere(t *testing.T) {
	for c := range 256 {
		for length := range 20 {
			for i := range length {
				s := []byte(strings.Repeat("a", length))
				s[i] = byte(c)
				checkValue(t, string(s))
				s[length-1] = byte(c)
				checkValue(t, string(s))
			}
		}
	}
}

// Numbers of a few digits, and those beside them, which have many.
func TestRecord_Decimals(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	numbers := 20_000
	if raceEnabled {
		numbers = 5_000
	}
	for range numbers {
		f := float64(rnd.Int64N(1<<rnd.IntN(60)+1)) / math.Pow10(rnd.IntN(7))
		checkValue(t, f)
		checkValue(t, -f)
		checkValue(t, math.Nextafter(f, 0))
		checkValue(t, math.Nextafter(f, math.Inf(1)))
		checkValue(t, int64(f))
	}
}

func checkValue(t *testing.T, v any) {
	t.Helper()
	d := opencdc.StructuredData{"": v}
	if got, want := sizeOf(d), len(d.Bytes()); got != want {
		t.Errorf("%v: %d bytes, want %d", d, got, want)
	}
}
