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
	resume bool // append to the file, do not replace it
	format format

	file    *os.File
	size    int64
	acks    []connector.DestinationAck
	written int // how many records
}

// A format turns records into text, with a header if they are the first.
type format func(w io.Writer, recs []opencdc.Record, first bool) error

func (d *fileDestination) ID() string { return filepath.Base(d.path) }

// Open opens the file, and makes it and its directory if they are missing.
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
		return errors.Join(err, d.file.Close()) // what fails to open is not torn down
	}
	return nil
}

// Write appends the records to the file. Nothing stays in a buffer: what Ack
// confirms afterwards is with the operating system, and safe if this program
// crashes. To be safe from a power cut, it would call Sync on the file.
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

// Ack confirms the records that were written, in their order.
func (d *fileDestination) Ack(context.Context) ([]connector.DestinationAck, error) {
	acks := d.acks
	d.acks = nil
	return acks, nil
}

// Teardown closes the file.
func (d *fileDestination) Teardown(context.Context) error { return d.file.Close() }

// Errors returns nil: nothing of this destination happens in the background.
func (d *fileDestination) Errors() <-chan error { return nil }

// csvFormat writes a row of these fields for each record.
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

// jsonFormat writes a line of JSON for each record: what value returns for it.
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

// refusal is a line about a record in the dead-letter queue.
type refusal struct {
	Line   any    `json:"line"` // in the input
	Reason string `json:"reason"`
	Task   string `json:"task"`   // the one that refused it
	Report any    `json:"report"` // as it came to that task
}

// newRefusal makes a refusal of a record that the dead-letter queue is given:
// its payload is the refused record, its metadata tell the reason.
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
