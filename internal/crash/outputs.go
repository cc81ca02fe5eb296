package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
)

// The destinations of a life.
const (
	destinationA = "a"
	destinationB = "b"
)

func queueOf(source int) string { return fmt.Sprintf("queue-%d", source) }

// outputPath returns the path of an output in the directory of the life. name is the name of
// its records, or a placeholder for it.
func (p plan) outputPath(destination, name string) string {
	if p.openFiles == 0 {
		return destination + ".jsonl"
	}
	return destination + "/" + name + "/out.jsonl"
}

// destinationOptions returns the options of all destinations.
func (p plan) destinationOptions() []file.DestinationOption {
	var opts []file.DestinationOption
	if p.rotation != (file.Rotation{}) {
		opts = append(opts, file.WithRotation(p.rotation))
	}
	if p.openFiles > 0 {
		opts = append(opts, file.WithMaxOpenFiles(p.openFiles))
	}
	return opts
}

// An output is a file of a destination, with those that were rotated.
type output struct {
	destination string
	path        string
	name        string // of all its records, or "" if they can have any
}

// takes returns true if the output is for records with a fate.
func (o output) takes(f fate) bool { return o.name == "" || o.name == f.name }

// outputsOf returns the outputs of a destination.
func (p plan) outputsOf(destination string) []output {
	if p.openFiles == 0 {
		return []output{{destination: destination, path: p.outputPath(destination, "")}}
	}
	var all []output
	for i := range names {
		name := fmt.Sprintf("n%d", i)
		all = append(all, output{destination, p.outputPath(destination, name), name})
	}
	return all
}

// outputs returns the outputs of all destinations.
func (p plan) outputs() []output {
	all := slices.Concat(p.outputsOf(destinationA), p.outputsOf(destinationB))
	for source := range p.sources {
		all = append(all, p.outputsOf(queueOf(source))...)
	}
	return all
}

// files returns the files of the output that exist, in the order of their records: the
// rotated ones, and then the current one.
func (o output) files(dir string) ([]string, error) {
	var paths []string
	for n := 1; ; n++ {
		path := strings.TrimSuffix(o.path, ".jsonl") + fmt.Sprintf(".%06d.jsonl", n)
		if _, err := os.Stat(filepath.Join(dir, path)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	_, err := os.Stat(filepath.Join(dir, o.path))
	switch {
	case errors.Is(err, fs.ErrNotExist): // no record was written, or a rotation has not ended
		return paths, nil
	case err != nil:
		return nil, err
	}
	return append(paths, o.path), nil
}

// read returns the content of the output. It returns an error if a rotated file is torn, or
// a file is larger than it may be, although it holds more than one Write.
func (o output) read(dir string, p plan) ([]byte, error) {
	paths, err := o.files(dir)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, path := range paths {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		isRotated, lines := path != o.path, bytes.Count(data, []byte("\n"))
		switch {
		case isRotated && !bytes.HasSuffix(data, []byte("\n")):
			return nil, fmt.Errorf("%s was rotated, but ends with a part of a line, or is empty", path)
		case p.rotation.Bytes > 0 && int64(len(data)) > p.rotation.Bytes && lines > p.inFlight()*maxPieces:
			return nil, fmt.Errorf("%s has %d bytes and %d lines, which are of several Writes, but may have only %d bytes",
				path, len(data), lines, p.rotation.Bytes)
		}
		all = append(all, data...)
	}
	return all, nil
}

// A line is the content of one line of an output.
type line struct {
	at     int64 // where it begins, in the content of the output
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

// lines reads the lines of the output. parse is given the text of each line.
func (o output) lines(dir string, p plan, parse func(text []byte, p plan) (line, error)) ([]line, error) {
	data, err := o.read(dir, p)
	if err != nil {
		return nil, err
	}
	var lines []line
	for at := int64(0); len(data) > 0; {
		text, rest, isWhole := bytes.Cut(data, []byte("\n"))
		if !isWhole {
			return nil, fmt.Errorf("%s ends with a part of a line: %q", o.path, text)
		}
		l, err := parse(text, p)
		if err != nil {
			return nil, fmt.Errorf("%s is damaged at byte %d: %w: %q", o.path, at, err, text)
		}
		if name := p.fate(l.source, l.id).name; o.name != "" && name != o.name {
			return nil, fmt.Errorf("%s: %v has the name %s", o.path, l, name)
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
func parsePiece(text []byte, p plan) (line, error) {
	var piece struct {
		Source, ID *int
		Piece      int
		Name, Text string
	}
	if err := json.Unmarshal(text, &piece); err != nil {
		return line{}, err
	}
	if piece.Source == nil || piece.ID == nil {
		return line{}, errors.New("a field is missing")
	}
	l := line{source: *piece.Source, id: *piece.ID, piece: piece.Piece}
	if want := textOf(l.source, l.id); piece.Text != want {
		return l, fmt.Errorf("the text is %q, want %q", piece.Text, want)
	}
	if want := p.fate(l.source, l.id).name; piece.Name != want {
		return l, fmt.Errorf("the name is %q, want %q", piece.Name, want)
	}
	return l, nil
}

// parseLetter parses a line of a queue, and checks that the record in it is the one from the
// input.
func parseLetter(text []byte, p plan) (line, error) {
	var record opencdc.Record
	if err := json.Unmarshal(text, &record); err != nil {
		return line{}, err
	}
	letter, err := funnel.ParseDeadLetter(record)
	if err != nil {
		return line{}, err
	}
	data, ok := letter.Record.Payload.After.(opencdc.StructuredData)
	if !ok {
		return line{}, fmt.Errorf("the payload is a %T", letter.Record.Payload.After)
	}
	source, isSource := data["source"].(int64)
	id, isID := data["id"].(int64)
	l := line{source: int(source), id: int(id)}
	switch {
	case !isSource || !isID || data["text"] != textOf(l.source, l.id) || data["name"] != p.fate(l.source, l.id).name || len(data) != 4:
		return line{}, fmt.Errorf("the record in it is %v", data)
	case letter.Reason != errRefused.Error():
		return line{}, fmt.Errorf("the reason is %q", letter.Reason)
	}
	return l, nil
}

// checkFiles returns an error if a destination has left a file that is none of its outputs,
// such as a rotated one whose number does not follow the one before.
func (l *life) checkFiles() error {
	known := map[string]bool{}
	for _, o := range l.plan.outputs() {
		paths, err := o.files(l.dir)
		if err != nil {
			return err
		}
		for _, path := range paths {
			known[path] = true
			if path != o.path {
				l.report.rotations++
			}
		}
	}
	fsys := os.DirFS(l.dir)
	return fs.WalkDir(fsys, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".jsonl" && !strings.HasPrefix(path, "in-") && !known[path] {
			err = fmt.Errorf("%s is none of the outputs", path)
		}
		return err
	})
}
