package framing_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/conduitio/funnel/internal/framing"
)

// reader returns a reader of a head.
func reader(t *testing.T, content []byte) *framing.Reader {
	t.Helper()
	r, _, err := frame.Split(framed(string(content), ""))
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestReader(t *testing.T) {
	b := []byte{9}
	b = binary.LittleEndian.AppendUint32(b, 1<<31)
	b = binary.LittleEndian.AppendUint64(b, 1<<63)
	b = binary.AppendUvarint(b, math.MaxUint64)
	b = binary.AppendUvarint(b, math.MaxInt64)
	b = append(b, 2, 2, 'h', 'i')
	check := func(r *framing.Reader) bool {
		isRight := r.Byte() == 9 && r.Uint32() == 1<<31 && r.Uint64() == 1<<63 &&
			r.Uvarint() == math.MaxUint64 && r.Number() == math.MaxInt64 && r.Count() == 2 && r.Text() == "hi"
		return isRight && r.IsDone()
	}
	if !check(reader(t, b)) {
		t.Error("it was not read as it was written")
	}
	for n := range b {
		if check(reader(t, b[:n])) {
			t.Errorf("%d bytes are enough", n)
		}
	}
	if check(reader(t, append(b, 0))) {
		t.Error("the rest is not noticed")
	}
}

// After an error, all values are zero.
func TestReader_bad(t *testing.T) {
	long := binary.AppendUvarint(nil, math.MaxUint64)
	for name, tc := range map[string]struct {
		content []byte
		read    func(r *framing.Reader) bool
	}{
		"negative":  {long, func(r *framing.Reader) bool { return r.Number() == 0 }},
		"count":     {[]byte{2, 1}, func(r *framing.Reader) bool { return r.Count() == 0 }},
		"text":      {[]byte{2, 1}, func(r *framing.Reader) bool { return r.Text() == "" }},
		"short":     {[]byte{1, 1, 1}, func(r *framing.Reader) bool { return r.Uint32() == 0 }},
		"no varint": {[]byte{0x80}, func(r *framing.Reader) bool { return r.Uvarint() == 0 }},
		"failed":    {[]byte{1}, func(r *framing.Reader) bool { r.Fail(); return r.Byte() == 0 }},
	} {
		r := reader(t, append(tc.content, 0)[:len(tc.content)])
		if !tc.read(r) {
			t.Errorf("%s: something was read", name)
		}
		if r.Byte() != 0 || r.Uint64() != 0 || r.Uvarint() != 0 || r.Text() != "" || r.IsDone() {
			t.Errorf("%s: it goes on", name)
		}
	}
}
