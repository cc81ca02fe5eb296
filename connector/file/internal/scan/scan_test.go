package scan_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/conduitio/funnel/connector/file/internal/scan"
)

// split cuts the input into pieces, and gives the scanner only a few more bytes at a time.
// It checks what holds for all pieces.
func split(t *testing.T, s *scan.Scanner, input []byte, limit, step int) []scan.Piece {
	t.Helper()
	var pieces []scan.Piece
	isRest := false
	begin, end := 0, 0
	for {
		isEnd := end == len(input)
		p := s.Next(input[begin:end], isEnd, isRest)
		if p.Len == 0 {
			if isEnd {
				if begin != end {
					t.Fatalf("%d bytes are in no piece", end-begin)
				}
				return pieces
			}
			if end-begin >= s.Need() {
				t.Fatalf("no piece is found in %d bytes", end-begin)
			}
			end = min(end+step, len(input))
			continue
		}
		text := input[begin : begin+p.Len]
		lineEnd := string(text[p.Content:])
		switch {
		case p.Content > limit:
			t.Fatalf("a piece of %d bytes, more than %d", p.Content, limit)
		case p.IsOpen != (lineEnd == ""), !p.IsOpen && lineEnd != "\n" && lineEnd != "\r\n":
			t.Fatalf("open: %t, line end %q", p.IsOpen, lineEnd)
		case p.IsOpen && p.Damage == nil && begin+p.Len != len(input):
			t.Fatal("a record without line end")
		case p.Damage != nil && bytes.IndexByte(text[:p.Content], '\n') >= 0:
			t.Fatalf("damage in more than a line: %q", text)
		case p.Damage != nil && p.IsOpen && p.Content != limit && begin+p.Len != len(input):
			t.Fatalf("damage ends neither at a line end nor at the bound: %q", text)
		case isRest && p.Damage == nil:
			t.Fatal("the rest of a line is not damaged")
		}
		isRest = p.IsOpen
		pieces = append(pieces, p)
		begin += p.Len
	}
}

// checkSplit checks that the pieces are the same whatever the scanner gets at a time, and
// returns them.
func checkSplit(t *testing.T, newScanner func() *scan.Scanner, input []byte, limit int) []scan.Piece {
	t.Helper()
	s := newScanner()
	want := split(t, s, input, limit, len(input)+1)
	for _, step := range []int{1, 2, 3, 7, len(input)/2 + 1} {
		got := split(t, s, input, limit, step)
		if len(got) != len(want) {
			t.Fatalf("%d pieces with steps of %d, %d at once", len(got), step, len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("piece %d is %+v with steps of %d, %+v at once", i, got[i], step, want[i])
			}
		}
	}
	return want
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nbc\r\n\r\n\rdef\r"), uint8(3))
	f.Add([]byte("abcdefghi\nx"), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, bound uint8) {
		limit := int(bound) + 1
		pieces := checkSplit(t, func() *scan.Scanner { return scan.Lines(limit) }, input, limit)
		begin := 0
		for _, line := range strings.SplitAfter(string(input), "\n") {
			if line == "" {
				continue
			}
			content := len(strings.TrimSuffix(line, "\n"))
			if content < len(line) {
				content = len(strings.TrimSuffix(line[:content], "\r"))
			}
			for first := true; line != ""; first = false {
				p := pieces[begin]
				begin++
				if isDamaged := content > limit || !first; isDamaged != (p.Damage != nil) {
					t.Fatalf("%q: %+v", line, p)
				}
				if want := min(content, limit); p.Content != want {
					t.Fatalf("%q: content %d, want %d", line, p.Content, want)
				}
				line = line[p.Len:]
				content -= p.Content
			}
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n\"1\n\",\"\"\"\"\r\n"), uint8(9), ",")
	f.Add([]byte("\"a\n\"b\n\"c"), uint8(4), ";")
	f.Add([]byte("\"abc\ndef\nghi\n"), uint8(5), ",")
	f.Add([]byte("a,\"b\nc\n\"\"\n,\"d\n\"\r\n\"e"), uint8(9), ",")
	f.Add([]byte("\"a\"→\"b\"\r\n→→\n"), uint8(40), "→")
	f.Fuzz(func(t *testing.T, input []byte, bound uint8, separator string) {
		comma, _ := utf8.DecodeRuneInString(separator)
		if strings.ContainsRune("\"\r\n\x00"+string(utf8.RuneError), comma) {
			return
		}
		limit := int(bound) + 1
		pieces := checkSplit(t, func() *scan.Scanner { return scan.CSV(limit, comma) }, input, limit)
		rest := input
		isRest := false
		for _, p := range pieces {
			text := rest[:p.Len]
			if p.Damage == nil {
				checkRow(t, text, comma)
			} else if !isRest && p.Damage.Error() != "" && !p.IsOpen {
				checkNoRow(t, text, rest[:min(len(rest), limit+2)], comma, limit)
			}
			rest = rest[p.Len:]
			isRest = p.IsOpen
		}
	})
}

func newReader(text []byte, comma rune) *csv.Reader {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma = comma
	r.FieldsPerRecord = -1
	return r
}

// checkRow checks that a text is one row, or none.
func checkRow(t *testing.T, text []byte, comma rune) {
	t.Helper()
	if len(bytes.TrimRight(text, "\r\n")) == 0 {
		return
	}
	r := newReader(text, comma)
	if _, err := r.Read(); err != nil {
		t.Fatalf("%q is no row: %v", text, err)
	}
	if got := r.InputOffset(); got != int64(len(text)) {
		t.Fatalf("%q: the row ends at %d", text, got)
	}
}

// checkNoRow checks that no row within the bound begins where a damaged line does.
func checkNoRow(t *testing.T, line, rest []byte, comma rune, limit int) {
	t.Helper()
	r := newReader(rest, comma)
	if _, err := r.Read(); err == nil && r.InputOffset() <= int64(limit) {
		t.Fatalf("%q is taken for damaged, but a row of %d bytes begins there", line, r.InputOffset())
	}
}

// The scanner reads a row that is open for long once, not once for each part.
func BenchmarkCSV_openQuote(b *testing.B) {
	input := []byte("\"" + strings.Repeat("x", 1<<20))
	for b.Loop() {
		s := scan.CSV(1<<20, ',')
		for n := 0; n < 1<<20; n += 100 {
			if p := s.Next(input[:n], false, false); p.Len > 0 {
				b.Fatal("a piece")
			}
		}
	}
}
