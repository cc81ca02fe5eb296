package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The files of a life, in its directory.
const positionsDir = "positions"

var outputs = [2]string{"a.jsonl", "b.jsonl"}

func queueFile(source int) string            { return fmt.Sprintf("queue-%d.jsonl", source) }
func inputDir(dir string, source int) string { return filepath.Join(dir, fmt.Sprintf("in-%d", source)) }

// makeInput makes the files that a source reads. Together they hold its records in order.
func (p plan) makeInput(dir string, source int) error {
	const files = 3
	in := inputDir(dir, source)
	if err := os.Mkdir(in, 0o755); err != nil {
		return err
	}
	for i := range files {
		name := filepath.Join(in, fmt.Sprintf("part-%d.jsonl", i))
		var text bytes.Buffer
		for id := p.records * i / files; id < p.records*(i+1)/files; id++ {
			fmt.Fprintf(&text, `{"source":%d,"id":%d,"text":"record %d of source %d"}`+"\n", source, id, id, source)
		}
		if p.gzipped && i == 1 {
			name += ".gz"
			var compressed bytes.Buffer
			w := gzip.NewWriter(&compressed)
			if _, err := text.WriteTo(w); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			text = compressed
		}
		if err := os.WriteFile(name, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A line is the content of one line of an output.
type line struct {
	at     int64 // where it begins
	source int
	id     int
	piece  int
}

// follows returns true if a line belongs after another one of the same source.
func (l line) follows(other line) bool {
	return l.id > other.id || l.id == other.id && l.piece > other.piece
}

func (l line) String() string {
	return fmt.Sprintf("piece %d of record %d of source %d at byte %d", l.piece, l.id, l.source, l.at)
}

// readOutput reads the lines of an output. parse is given the text of each line.
func readOutput(path string, parse func(text []byte) (line, error)) ([]line, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []line
	for at := int64(0); len(data) > 0; {
		text, rest, isWhole := bytes.Cut(data, []byte("\n"))
		if !isWhole {
			return nil, fmt.Errorf("%s ends with a part of a line: %q", filepath.Base(path), text)
		}
		l, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s is damaged at byte %d: %w: %q", filepath.Base(path), at, err, text)
		}
		l.at = at
		lines = append(lines, l)
		at += int64(len(text) + 1)
		data = rest
	}
	return lines, nil
}

// parsePiece parses a line of a or b. The line of a record that was not split has no piece
// number.
func parsePiece(text []byte) (line, error) {
	var piece struct {
		Source, ID *int
		Piece      int
		Text       string
	}
	if err := json.Unmarshal(text, &piece); err != nil {
		return line{}, err
	}
	if piece.Source == nil || piece.ID == nil {
		return line{}, errors.New("a field is missing")
	}
	l := line{source: *piece.Source, id: *piece.ID, piece: piece.Piece}
	if want := fmt.Sprintf("record %d of source %d", l.id, l.source); piece.Text != want {
		return l, fmt.Errorf("the text is %q, want %q", piece.Text, want)
	}
	return l, nil
}
