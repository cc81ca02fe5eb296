package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// fileDestination writes records to a file, in any format.
type fileDestination struct {
	path   string
	resume bool // append to the file instead of replacing it
	format format

	file    *os.File
	size    int64
	acks    []connector.DestinationAck
	written int // number of records
}

// A format writes records as text, with a header if first is true.
type format func(w io.Writer, recs []opencdc.Record, first bool) error

func (d *fileDestination) ID() string { return filepath.Base(d.path) }

// Open opens the file. It makes the file and its directory if they are missing.
func (d *fileDestination) Open(context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return err
	}
	mode := os.O_CREATE | os.O_WRONLY
	if !d.resume {
		mode |= os.O_TRUNC
	}
	if d.file, err = os.OpenFile(d.path, mode, 0o644); err != nil {
		return err
	}
	if d.size, err = d.file.Seek(0, io.SeekEnd); err != nil {
		return errors.Join(err, d.file.Close()) // Teardown is not called if Open fails
	}
	return nil
}

// Write appends the records to the file. It buffers nothing: when Ack confirms a
// record, the operating system has it, so it survives a crash of this program. To
// survive a power cut, Write would have to call Sync on the file.
func (d *fileDestination) Write(_ context.Context, recs []opencdc.Record) error {
	var text bytes.Buffer
	if err := d.format(&text, recs, d.size == 0); err != nil {
		return err
	}
	n, err := d.file.Write(text.Bytes())
	if err != nil {
		return errors.Join(err, d.file.Truncate(d.size)) // leave no half line behind
	}
	d.size += int64(n)
	d.written += len(recs)
	for _, rec := range recs {
		d.acks = append(d.acks, connector.DestinationAck{Position: rec.Position})
	}
	return nil
}

// Ack confirms the written records, in order.
func (d *fileDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	acks := d.acks
	d.acks = nil
	return acks, nil
}

// Teardown closes the file.
func (d *fileDestination) Teardown(context.Context) error { return d.file.Close() }

// Errors returns nil: this destination does nothing in the background.
func (d *fileDestination) Errors() <-chan error { return nil }

// csvFormat writes a row with these columns for each record.
func csvFormat(columns []string) format {
	return func(w io.Writer, recs []opencdc.Record, first bool) error {
		var rows [][]string
		if first {
			rows = append(rows, columns)
		}
		for _, rec := range recs {
			data := rec.Payload.After.(opencdc.StructuredData)
			row := make([]string, len(columns))
			for i, column := range columns {
				if data[column] != nil {
					row[i] = fmt.Sprint(data[column])
				}
			}
			rows = append(rows, row)
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
}

// jsonFormat writes a line of JSON for each record: the result of value.
func jsonFormat(value func(opencdc.Record) any) format {
	return func(w io.Writer, recs []opencdc.Record, _ bool) error {
		lines := json.NewEncoder(w)
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

// refusal is the line for a record in the dead-letter queue.
type refusal struct {
	Line   any    `json:"line"` // line number in the input
	Reason string `json:"reason"`
	Task   string `json:"task"`   // the task that refused it
	Report any    `json:"report"` // the report as that task got it
}

// newRefusal makes a refusal from a dead letter: its payload is the refused record, its
// metadata has the reason.
func newRefusal(rec opencdc.Record) refusal {
	refused := rec.Payload.After.(opencdc.StructuredData)
	reason, _ := rec.Metadata.GetConduitDLQNackError()
	task, _ := rec.Metadata.GetConduitDLQNackNodeID()
	return refusal{
		Line:   refused["key"].(map[string]any)["line"],
		Reason: reason,
		Task:   task,
		Report: refused["payload"].(map[string]any)["after"],
	}
}
