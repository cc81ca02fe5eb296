package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

//go:embed data/birdstrikes.csv
var sample embed.FS

// openCSV opens a file as a source, or the built-in one if path is empty.
func openCSV(path string, batch int, from int64) (*csvSource, error) {
	file, err := sample.Open("data/birdstrikes.csv")
	if path != "" {
		file, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	return newCSVSource(file, batch, from)
}

// csvSource reads the rows of a CSV file. The position of a record is the byte where its row ends: once the record is
// done, reading can go on there.
type csvSource struct {
	funnel.Source // calls next; Ack and Teardown are below
	file          fs.File
	size          int64
	rows          *csv.Reader
	columns       []string
	isAtEnd       bool   // the file was read to its end
	read, done    int64  // the positions of the last record read and of the last one that is done
	onAck         func() // called when done has changed
}

// newCSVSource reads the header and skips the rows before from, which an earlier run has finished.
func newCSVSource(file fs.File, batch int, from int64) (*csvSource, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	s := &csvSource{file: file, size: info.Size(), rows: csv.NewReader(file), read: from, done: from}
	s.Source = funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) { return s.next(batch) })
	s.columns, err = s.rows.Read()
	for err == nil && s.rows.InputOffset() < from {
		_, err = s.rows.Read()
	}
	switch {
	case batch < 1:
		return nil, errors.New("a batch has at least one report")
	case err != nil && err != io.EOF:
		return nil, err
	case s.columns == nil:
		return nil, errors.New("the input is empty")
	case from > 0 && s.rows.InputOffset() != from:
		return nil, fmt.Errorf("no row of the input ends at byte %d", from)
	}
	return s, nil
}

// next returns the next n records, or those that are left together with io.EOF.
func (s *csvSource) next(n int) (recs []opencdc.Record, err error) {
	for len(recs) < n {
		row, err := s.rows.Read()
		if err != nil {
			s.isAtEnd = err == io.EOF
			return recs, err
		}
		report := opencdc.StructuredData{}
		for i, column := range s.columns {
			report[column] = row[i]
		}
		line, _ := s.rows.FieldPos(0)
		s.read = s.rows.InputOffset()
		recs = append(recs, opencdc.Record{
			Position: strconv.AppendInt(nil, s.read, 10),
			Key:      opencdc.StructuredData{"line": line},
			Payload:  opencdc.Change{After: report},
		})
	}
	return recs, nil
}

// Ack receives the positions of records that are done: written by every destination they went to, filtered, or in the
// dead-letter queue. They come in read order, so the last one is the position to go on from.
func (s *csvSource) Ack(_ context.Context, positions []opencdc.Position) (err error) {
	s.done, err = strconv.ParseInt(string(positions[len(positions)-1]), 10, 64)
	s.onAck()
	return err
}

// Teardown closes the file, which also ends a pending read.
func (s *csvSource) Teardown(ctx context.Context) error {
	return errors.Join(s.Source.Teardown(ctx), s.file.Close())
}

// output is a destination that writes each record to a file.
type output struct {
	funnel.Destination // calls write; Open and Teardown are below
	path               string
	resume             bool // append to the file instead of replacing it
	format             format
	file               *os.File
	written            int // number of records
}

// A format writes records as text. isFirst is true at the beginning of a file.
type format func(text io.Writer, recs []opencdc.Record, isFirst bool) error

func newOutput(dir, name string, resume bool, format format) *output {
	o := &output{path: filepath.Join(dir, name), resume: resume, format: format}
	o.Destination = funnel.DestinationFunc(o.write)
	return o
}

// Open opens the file. It makes the file and its directory if they are missing.
func (o *output) Open(context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(o.path), 0o755); err != nil {
		return err
	}
	mode := os.O_CREATE | os.O_WRONLY
	if !o.resume {
		mode |= os.O_TRUNC
	}
	o.file, err = os.OpenFile(o.path, mode, 0o644)
	return err
}

// write appends the records. It buffers nothing: when it returns, the operating system has them, so they survive a
// crash of this program. To survive a power cut, it would have to call Sync.
func (o *output) write(_ context.Context, recs []opencdc.Record) error {
	size, err := o.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := o.format(&text, recs, size == 0); err != nil {
		return err
	}
	if _, err := o.file.Write(text.Bytes()); err != nil {
		return errors.Join(err, o.file.Truncate(size)) // leave no half line behind
	}
	o.written += len(recs)
	return nil
}

// Teardown closes the file.
func (o *output) Teardown(context.Context) error { return o.file.Close() }

// strikesCSV writes a row with the strikeColumns of each record.
func strikesCSV(text io.Writer, recs []opencdc.Record, isFirst bool) error {
	var rows [][]string
	if isFirst {
		rows = append(rows, strikeColumns)
	}
	for _, rec := range recs {
		row := make([]string, len(strikeColumns))
		for i, column := range strikeColumns {
			if value := rec.Payload.After.(opencdc.StructuredData)[column]; value != nil {
				row[i] = fmt.Sprint(value)
			}
		}
		rows = append(rows, row)
	}
	return csv.NewWriter(text).WriteAll(rows)
}

// jsonLines writes a line for each record: the result of value.
func jsonLines(value func(opencdc.Record) any) format {
	return func(text io.Writer, recs []opencdc.Record, _ bool) error {
		lines := json.NewEncoder(text)
		lines.SetEscapeHTML(false)
		for _, rec := range recs {
			if err := lines.Encode(value(rec)); err != nil {
				return err
			}
		}
		return nil
	}
}

func payload(rec opencdc.Record) any { return rec.Payload.After }

// refusal returns the line for a dead letter, and counts the reason. The refused record is the payload of the letter.
func (s *summary) refusal(letter opencdc.Record) any {
	rec, reason := letter.Payload.After.(opencdc.StructuredData), letter.Metadata[opencdc.MetadataConduitDLQNackError]
	s.reasons[reason]++
	return struct {
		Line   any    `json:"line"` // in the input
		Reason string `json:"reason"`
		Task   string `json:"task"`   // the task that refused the report
		Report any    `json:"report"` // as that task got it
	}{
		rec["key"].(map[string]any)["line"], reason,
		letter.Metadata[opencdc.MetadataConduitDLQNackNodeID], rec["payload"].(map[string]any)["after"],
	}
}
