package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// csvSource reads the rows of a CSV file. The position of a record is the byte where
// its row ends: once the record is done, reading can resume there.
type csvSource struct {
	open  func() (fs.File, error)
	from  int64 // the position to start from
	batch int   // rows per read
	onAck func(done, size int64)

	file    fs.File
	size    int64
	rows    *csv.Reader
	columns []string

	read, acked int   // records read, and how many of these are done
	position    int64 // of the last record that is done
	ended       bool  // the file has been read to the end
}

func (s *csvSource) ID() string { return "birdstrikes" }

// Open opens the file, reads the header and skips the rows that an earlier run has
// finished.
func (s *csvSource) Open(context.Context) (err error) {
	if s.file, err = s.open(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return errors.Join(err, s.file.Close()) // Teardown is not called if Open fails
	}
	return nil
}

func (s *csvSource) begin() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	s.size, s.position = info.Size(), s.from
	s.rows = csv.NewReader(s.file)
	s.columns, err = s.rows.Read()
	for err == nil && s.rows.InputOffset() < s.from {
		_, err = s.rows.Read()
	}
	switch {
	case err != nil && err != io.EOF:
		return err
	case s.columns == nil:
		return errors.New("the input is empty")
	case s.from > 0 && s.rows.InputOffset() != s.from:
		return fmt.Errorf("no row of the input ends at byte %d", s.from)
	}
	return nil
}

// Read returns the next batch, the last one together with io.EOF.
func (s *csvSource) Read(context.Context) ([]opencdc.Record, error) {
	var recs []opencdc.Record
	for len(recs) < s.batch {
		row, err := s.rows.Read()
		if err != nil {
			s.ended = err == io.EOF
			return recs, err
		}
		recs = append(recs, s.record(row))
		s.read++
	}
	return recs, nil
}

func (s *csvSource) record(row []string) opencdc.Record {
	report := opencdc.StructuredData{}
	for i, column := range s.columns {
		report[column] = row[i]
	}
	metadata := opencdc.Metadata{}
	metadata.SetReadAt(time.Now())
	line, _ := s.rows.FieldPos(0)
	return opencdc.Record{
		Position:  strconv.AppendInt(nil, s.rows.InputOffset(), 10),
		Operation: opencdc.OperationCreate,
		Metadata:  metadata,
		Key:       opencdc.StructuredData{"line": line},
		Payload:   opencdc.Change{After: report},
	}
}

// Ack receives the positions of records that are done: written by every destination
// they went to, filtered, or refused and in the dead-letter queue. They come in read
// order, so the last position is the one to resume from. A source that restarts by
// itself would store it here; this one leaves it to the flag -from.
func (s *csvSource) Ack(_ context.Context, positions []opencdc.Position) (err error) {
	s.acked += len(positions)
	s.position, err = strconv.ParseInt(string(positions[len(positions)-1]), 10, 64)
	s.onAck(s.position, s.size)
	return err
}

// done returns true once the whole file has been read and all records are done.
func (s *csvSource) done() bool { return s.ended && s.acked == s.read }

// Teardown closes the file, which also ends a pending Read.
func (s *csvSource) Teardown(context.Context) error { return s.file.Close() }

// Errors returns nil: this source does nothing in the background.
func (s *csvSource) Errors() <-chan error { return nil }
