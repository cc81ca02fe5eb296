package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

// loopBatch is the number of lines that are read before what came of them is written.
const loopBatch = 1000

// loop is the program that one would write without an engine. It parses with the same
// parser, makes the same records and dead letters, writes each batch at once, syncs it, and
// then saves its position in the same store. It uses all memory again. What it cannot do:
// branches, retries, a window, a graceful stop, files that rotate; lines that it cannot
// parse end it, and so does any other fault.
type loop struct {
	lines           *bufio.Reader
	path            string
	offset          int64
	line            int64
	decoder         *file.JSONDecoder
	encoder         file.JSONEncoder
	events, letters output
	claim           position.Claim
}

// runLoop does the work with a loop.
func runLoop(in, out string) (err error) {
	ctx := context.Background()
	l := &loop{path: in, decoder: file.NewJSONDecoder()}
	store, err := position.NewFiles(filepath.Join(out, "positions"))
	if err != nil {
		return err
	}
	if l.claim, err = store.Claim(ctx, "input"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.claim.Release(ctx)) }()
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	l.lines = bufio.NewReaderSize(f, 256<<10)
	if l.events.file, err = os.Create(eventsPath(out)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.events.file.Close()) }()
	if l.letters.file, err = os.Create(lettersPath(out)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.letters.file.Close()) }()
	for isEnd := false; !isEnd && err == nil; {
		isEnd, err = l.batch(ctx)
	}
	return err
}

// batch moves the lines of a batch. It returns true if there are no more.
func (l *loop) batch(ctx context.Context) (isEnd bool, err error) {
	for range loopBatch {
		text, err := l.lines.ReadSlice('\n')
		if err == io.EOF && len(text) == 0 {
			return true, l.commit(ctx)
		}
		if err != nil {
			return false, err
		}
		if err := l.event(text); err != nil {
			return false, err
		}
	}
	return false, l.commit(ctx)
}

// event makes a record of a line, and adds what comes of it to an output.
func (l *loop) event(text []byte) error {
	l.offset += int64(len(text))
	l.line++
	data, err := l.decoder.Data(bytes.TrimSuffix(text, []byte("\n")))
	if err != nil {
		return err
	}
	r := opencdc.Record{
		Position:  strconv.AppendInt(nil, l.offset, 10),
		Operation: opencdc.OperationCreate,
		Metadata: opencdc.Metadata{
			file.MetadataPath: l.path,
			file.MetadataLine: strconv.FormatInt(l.line, 10),
		},
		Payload: opencdc.Change{After: data},
	}
	switch {
	case data["id"].(int64)%filterEvery == 0:
		return nil
	case data["status"] == int64(refused):
		return l.refuse(r)
	}
	data["service"] = servicePrefix + data["service"].(string)
	if l.events.text, err = l.encoder.AppendData(l.events.text, data); err != nil {
		return err
	}
	l.events.text = append(l.events.text, '\n')
	return nil
}

// refuse adds a dead letter, as funnel does, but without the types of its values.
func (l *loop) refuse(r opencdc.Record) (err error) {
	letter := opencdc.Record{
		Position:  r.Position,
		Operation: opencdc.OperationCreate,
		Metadata:  opencdc.Metadata{},
		Payload:   opencdc.Change{After: opencdc.StructuredData(r.Map())},
	}
	letter.Metadata.SetCreatedAt(time.Now())
	letter.Metadata.SetConduitSourceConnectorID("input")
	letter.Metadata.SetConduitDLQNackError(errRefused.Error())
	letter.Metadata.SetConduitDLQNackNodeID("rename")
	if l.letters.text, err = l.encoder.AppendRecord(l.letters.text, &letter); err != nil {
		return err
	}
	l.letters.text = append(l.letters.text, '\n')
	return nil
}

// commit writes and syncs what was added, and then saves the position.
func (l *loop) commit(ctx context.Context) error {
	if err := errors.Join(l.events.flush(), l.letters.flush()); err != nil {
		return err
	}
	return l.claim.Save(ctx, strconv.AppendInt(nil, l.offset, 10))
}

// output is a file with text that is still to be written.
type output struct {
	file *os.File
	text []byte
}

func (o *output) flush() error {
	if len(o.text) == 0 {
		return nil
	}
	if _, err := o.file.Write(o.text); err != nil {
		return err
	}
	o.text = o.text[:0]
	return syncData(o.file)
}
