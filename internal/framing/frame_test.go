package framing_test

import (
	"bytes"
	"hash/fnv"
	"testing"

	"github.com/conduitio/funnel/internal/framing"
)

func sum(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

var frame = framing.Frame{Magic: "mm", Version: 7, Files: "things", Sum: sum}

// framed returns a position with these contents of head and tail. It is part of a larger
// slice, like the positions of a batch.
func framed(head, tail string) []byte {
	b := append(frame.AppendStart([]byte("before")), head...)
	headSum := sum(b[len("before"):])
	start := len(b)
	return frame.AppendEnd(append(b, tail...), start, headSum)[len("before"):]
}

func TestFrame(t *testing.T) {
	for _, head := range []string{"", "\x03abc"} {
		for _, tail := range []string{"", "\x04wxyz"} {
			h, ta, err := frame.Split(framed(head, tail))
			if err != nil {
				t.Fatal(err)
			}
			for want, r := range map[string]*framing.Reader{head: &h, tail: &ta} {
				if want != "" {
					if got := r.Text(); got != want[1:] {
						t.Errorf("got %q, want %q", got, want[1:])
					}
				}
				if !r.IsDone() {
					t.Errorf("more than %q was read", want)
				}
			}
		}
	}
}

// Every flipped bit and every truncation is an error.
func TestFrame_Split_damage(t *testing.T) {
	p := framed("\x03abc", "\x04wxyz")
	for i := range p {
		if _, _, err := frame.Split(p[:i]); err == nil {
			t.Errorf("%d bytes are accepted", i)
		}
		for bit := range 8 {
			damaged := bytes.Clone(p)
			damaged[i] ^= 1 << bit
			if _, _, err := frame.Split(damaged); err == nil {
				t.Errorf("bit %d of byte %d is damaged, and accepted", bit, i)
			}
		}
	}
	if _, _, err := frame.Split(append(p, 0)); err == nil {
		t.Error("a longer position is accepted")
	}
}

func TestFrame_Split_errors(t *testing.T) {
	for p, want := range map[string]string{
		"":                     "the position is not one of a source of things",
		"mm":                   "the position is not one of a source of things",
		"xx\x07":               "the position is not one of a source of things",
		"mm\x06":               "the position of a source of things has version 6, only 7 is known",
		"mm\x07":               "the position of a source of things is damaged",
		"mm\x07\x00\x00\x00":   "the position of a source of things is damaged",
		"mm\x07\xff1234567890": "the position of a source of things is damaged",
	} {
		if _, _, err := frame.Split([]byte(p)); err == nil || err.Error() != want {
			t.Errorf("%q: got the error %v, want %s", p, err, want)
		}
	}
}

// AppendEnd allocates nothing if the slice has room.
func TestFrame_AppendEnd_allocations(t *testing.T) {
	b := make([]byte, 0, 1000)
	plain := framing.Frame{Sum: func(b []byte) uint64 { return uint64(len(b)) }}
	if n := testing.AllocsPerRun(100, func() { plain.AppendEnd(append(b, "tail"...), 0, 1) }); n > 0 {
		t.Errorf("there are %v allocations", n)
	}
}
