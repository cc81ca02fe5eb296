// Package scan finds the ends of records in text that is read part by part: the ends of
// lines, and of the rows of CSV. It does no I/O, keeps no data, and reads each byte a bounded
// number of times.
//
// The whole text becomes pieces, each of which begins where the last one ends. A piece is
// either a record or damaged: it has no end within the bound, or its quotes are wrong. A
// damaged piece ends at the next line end or at the bound, whichever comes first, so a quote
// that is never closed damages one line.
package scan

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Piece is the piece that a Scanner has found at the beginning of the data.
type Piece struct {
	// Len is the number of bytes in the piece, including its line end. 0 means that more data
	// is needed or, at the end of the input, that there is none.
	Len int
	// Content is the number of bytes without the line end.
	Content int
	// Damage says why the piece is not a record. It is nil for a record.
	Damage error
	// IsOpen is true if the piece does not end with a line end.
	IsOpen bool
}

// Scanner finds one piece after another. It remembers how far it has come in an incomplete
// piece.
type Scanner struct {
	max      int
	comma    []byte // nil for lines
	tooLong  error
	unclosed error

	seen     int  // in the data up to here there is no line end outside of quotes
	at       int  // where the current part of the row begins
	isQuoted bool // the part is in quotes
	isClosed bool // the part begins after a closing quote
}

// The reasons for damage that do not depend on the bound.
var (
	errRest         = errors.New("it is the rest of a line whose beginning was passed on before")
	errBareQuote    = errors.New("a field without quotes around it holds a quote")
	errAfterQuote   = errors.New("something other than a separator or a line end follows a closing quote")
	errUnclosedFile = errors.New("a quote is not closed before the end of the file")
)

// Lines returns a scanner of lines with at most limit bytes, at least 1.
func Lines(limit int) *Scanner {
	return &Scanner{max: limit, tooLong: fmt.Errorf("the line is longer than %d bytes", limit)}
}

// CSV returns a scanner of the rows of CSV with at most limit bytes, at least 1.
func CSV(limit int, comma rune) *Scanner {
	return &Scanner{
		max:      limit,
		comma:    utf8.AppendRune(nil, comma),
		tooLong:  fmt.Errorf("the row is longer than %d bytes", limit),
		unclosed: fmt.Errorf("a quote is not closed within %d bytes", limit),
	}
}

// Reset forgets an incomplete piece.
func (s *Scanner) Reset() { s.seen, s.at, s.isQuoted, s.isClosed = 0, 0, false, false }

// Need is the number of bytes from which on Next always finds a piece.
func (s *Scanner) Need() int { return s.max + len("\r\n") }

// Next finds the piece at the beginning of data. If it has asked for more data, the next call
// must pass the same data followed by more. isEnd says that nothing follows data. isRest says
// that data begins in the middle of a line, and that the rest of this line is damaged.
func (s *Scanner) Next(data []byte, isEnd, isRest bool) Piece {
	var p Piece
	switch {
	case isRest:
		if p = s.line(data, isEnd); p.Damage == nil {
			p.Damage = errRest
		}
	case s.comma == nil:
		p = s.line(data, isEnd)
	default:
		p = s.row(data, isEnd)
	}
	if p.Len > 0 {
		s.Reset()
	}
	return p
}

// Line finds the end of the line at the beginning of data, which is a complete piece.
func (s *Scanner) Line(data []byte) Piece {
	s.seen = 0
	p := s.line(data, true)
	s.Reset()
	return p
}

// line finds the end of a line, or the bound.
func (s *Scanner) line(data []byte, isEnd bool) Piece {
	window := data[:min(len(data), s.Need())]
	if k := bytes.IndexByte(window[s.seen:], '\n'); k >= 0 {
		return s.ended(window, s.seen+k)
	}
	switch {
	case len(window) > s.max && (isEnd || len(window) == s.Need()):
		return Piece{Len: s.max, Content: s.max, Damage: s.tooLong, IsOpen: true}
	case isEnd:
		return Piece{Len: len(window), Content: len(window), IsOpen: true}
	}
	s.seen = len(window)
	return Piece{}
}

// ended returns the piece with the line end at k.
func (s *Scanner) ended(window []byte, k int) Piece {
	content := k
	if k > 0 && window[k-1] == '\r' {
		content--
	}
	if content > s.max {
		return Piece{Len: s.max, Content: s.max, Damage: s.tooLong, IsOpen: true}
	}
	return Piece{Len: k + 1, Content: content}
}

// row finds the end of a row. Inside quotes, it looks for the next quote. Outside of quotes,
// it first looks for the line end, so that it sees each part of the row once.
func (s *Scanner) row(data []byte, isEnd bool) Piece {
	window := data[:min(len(data), s.Need())]
	isFull := len(window) == s.Need()
	for {
		if s.isQuoted {
			k := bytes.IndexByte(window[s.at:], '"')
			if k < 0 {
				s.at = len(window)
				switch {
				case isFull:
					return s.damaged(window, isEnd, s.unclosed)
				case isEnd:
					return s.damaged(window, isEnd, errUnclosedFile)
				}
				return Piece{}
			}
			next := s.at + k + 1
			if next == len(window) && !isEnd && !isFull {
				s.at = next - 1 // the byte behind the quote says what it means
				return Piece{}
			}
			if next < len(window) && window[next] == '"' {
				s.at = next + 1
				continue
			}
			s.at, s.isQuoted, s.isClosed = next, false, true
		}
		from := max(s.at, s.seen)
		k := bytes.IndexByte(window[from:], '\n')
		switch {
		case k >= 0:
			k += from
		case isFull:
			return s.damaged(window, isEnd, s.tooLong)
		case isEnd:
			k = len(window)
		default:
			s.seen = len(window)
			return Piece{}
		}
		isEnded, err := s.fields(window[s.at:k])
		switch {
		case err != nil:
			return s.damaged(window, isEnd, err)
		case isEnded && k == len(window): // at the end of the input
			if k > s.max {
				return s.damaged(window, isEnd, s.tooLong)
			}
			return Piece{Len: k, Content: len(bytes.TrimSuffix(window, []byte{'\r'})), IsOpen: true} // \r is half a line end
		case isEnded:
			p := s.ended(window, k)
			if p.Damage != nil {
				return s.damaged(window, isEnd, p.Damage)
			}
			return p
		}
	}
}

// fields goes through the fields of text without quotes around it, which ends with a line.
// It returns true if the row ends there, and false if a quoted field begins.
func (s *Scanner) fields(text []byte) (isEnded bool, err error) {
	i := 0
	if s.isClosed {
		switch {
		case len(text) == 0 || string(text) == "\r":
			return true, nil
		case !bytes.HasPrefix(text, s.comma):
			return false, errAfterQuote
		}
		i = len(s.comma)
	}
	s.isClosed = false
	for {
		quote := bytes.IndexByte(text[i:], '"')
		switch {
		case quote < 0:
			return true, nil
		case quote == 0:
			s.at += i + 1
			s.isQuoted = true
			return false, nil
		}
		if !bytes.HasSuffix(text[i:i+quote], s.comma) {
			return false, errBareQuote
		}
		i += quote
	}
}

// damaged returns the first line of a damaged row.
func (s *Scanner) damaged(window []byte, isEnd bool, why error) Piece {
	s.seen = 0
	p := s.line(window, isEnd)
	if p.Damage == nil {
		p.Damage = why
	}
	return p
}
