package file

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/clock"
	"github.com/conduitio/funnel/internal/reuse"
)

// A Write groups its records by file, in their order, encodes those of a file into one
// buffer, and appends it. When all files have what they should, they are synced, and so are
// the directories in which one of them has appeared. Only then are the records confirmed.
//
// At any time, at most one append to each file is not synced. So a crash tears at most one
// append, the end of the file, and the next Open cuts off what is torn. It was never acked,
// so it comes again. A file is locked while it is open, and each append goes to the offset where the
// last one ended. So what lies before it is never touched again.
//
// After a failed sync, nobody knows what is on the disk, and another sync on the same
// descriptor would not tell. So every error of the disk ends the Write, all files are cut
// back to what was confirmed and closed, and the destination does not work until it is
// opened again. Opening writes the end of a file again, and syncs it, before anything is
// appended.

// Destination appends records to files. It implements [funnel.Destination]: one goroutine at
// a time calls its methods. [NewDestination] makes one.
type Destination struct {
	outputs *outputs
	isOpen  bool
	failure error // why it must be opened again

	acks       []connector.DestinationAck // of the last Write
	areTaken   bool
	ackMemory  reuse.Buffer[connector.DestinationAck]
	textMemory reuse.Buffer[byte]
	groups     groups
}

// NewDestination returns a destination that appends records to the file at path, in a format.
// The records of a Write are acked together, once they are written and synced.
//
//   - [Lines] writes the payload after the change: raw data as it is, and structured data as
//     JSON. Raw data is refused if it contains a line end or a NUL, or ends in a carriage
//     return.
//   - [JSONLines] writes structured data as a JSON object, with sorted names. Integers of
//     every width are exact, and floats have the fewest digits that read as the same float.
//     Bytes are written in base64, and times as in RFC 3339 with nanoseconds. NaN, infinities
//     and invalid UTF-8 are refused. Raw data must be a JSON value: it is written as it is,
//     but without white space between its parts.
//   - [CSV] needs [WithColumns], and structured data. A field that is missing or nil is
//     written as an empty field. Maps and lists are written as JSON, and other values as in
//     JSON, but without quotes. A record is refused if it contains a NUL or, without
//     [WithOtherFieldsDropped], a field that is not a column. A new file begins with a
//     header. An existing file must begin with the same header.
//   - [Records] writes the whole record as JSON that [opencdc.Record] can read. Values are
//     written as in JSONLines, and raw data in base64.
//
// A record that cannot be written is refused, and its ack says why. The others are written.
//
// # Names from records
//
// A path can have placeholders: {{table}} is a field of the record's payload after the
// change, {{customer.country}} a field within a field, and {{metadata:key}} is metadata. The
// value must be a string, an integer, a bool or a time, which stands for its date in UTC.
// Otherwise, the record is refused.
//
// Whatever a value is, its file is below the directory in which the first placeholder stands,
// and different values have different files. These parts of a value are written as %XX:
// percent signs, path separators, control characters, invalid UTF-8, what Windows does not
// allow, a dot at the beginning, a dot or a space at the end, with [WithRotation] a dot
// before a digit, and the first letter of the name of a Windows device. An empty value is
// written as %empty. A value that does not fit into a path element of 255 bytes is cut, and
// ends in %~ and a hash. Two placeholders in one element need a separator between them, such
// as _, which is written as %XX in the value before it.
//
// A record is refused if a symbolic link leads its file out of the directory, if its file has
// the name of something that is not a regular file, or while the same file is open under
// another name. On a file system that ignores case, or how Unicode is composed, names that
// differ only in that are one file.
//
// # Files
//
// The destination makes missing directories and files. A file is locked while it is open: a
// second destination for the same file gets an error, in any process. If another program
// changes, renames or removes an open file, the next Write to it fails.
//
// When a file is opened, an end that a crash has torn is cut off, which is logged at level
// warn. The torn records were never acked. A file that another program has begun must end
// with a line end, or its last line is cut off. A file with NULs that no crash leaves is an
// error, and so is a CSV file whose last 16 MiB are inside one open quote. Opening a CSV file
// reads all of it, unless the destination itself closed the file to open another one.
//
// If a call of the file system fails, Write returns an error, no record is acked, and what
// was written is cut off again, except from files that were closed in the meantime. Every
// later Write fails until the destination is opened again.
//
// A Write costs a sync for each of its files, and for each MiB. A record costs no allocation,
// unless its values have unusual types.
func NewDestination(path string, format Format, opts ...DestinationOption) (*Destination, error) {
	c, err := newDestinationConfig(format, opts)
	if err != nil {
		return nil, fmt.Errorf("file destination: %w", err)
	}
	t, err := parseTemplate(path, c.rotation != nil)
	if err == nil && c.rotation != nil {
		err = checkExtension(t.extension())
	}
	if err != nil {
		return nil, fmt.Errorf("file destination: the path %q: %w", path, err)
	}
	return &Destination{outputs: newOutputs(c, t, newEncoder(format, c))}, nil
}

// ID returns the path, with its placeholders.
func (d *Destination) ID() string { return d.outputs.template.text }

// Errors returns a nil channel: nothing happens in the background.
func (d *Destination) Errors() <-chan error { return nil }

// Open makes the directory. If the path has no placeholders, it also opens and repairs the
// file; otherwise Write does, when a record needs the file.
func (d *Destination) Open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.outputs.abandon(); err != nil { // of a life that was not torn down
		return fmt.Errorf("file destination: %w", err)
	}
	d.dropAcks()
	d.isOpen, d.failure = false, nil
	d.outputs.now = clock.Of(ctx)
	if err := d.open(ctx); err != nil {
		return fmt.Errorf("file destination: %w", errors.Join(err, d.outputs.abandon()))
	}
	d.isOpen = true
	return nil
}

func (d *Destination) open(ctx context.Context) error {
	t := d.outputs.template
	if err := d.outputs.makeRoot(); err != nil {
		return err
	}
	if t.fixed != "" {
		if _, err := d.outputs.get(ctx, t.fixed); err != nil {
			return err
		}
	}
	return d.outputs.syncDirs()
}

var (
	errClosed   = errors.New("file destination: it is not open")
	errPanicked = errors.New("a Write has panicked")
)

// Write appends the records to their files, and syncs the files.
func (d *Destination) Write(ctx context.Context, records []opencdc.Record) (err error) {
	d.dropAcks()
	switch {
	case !d.isOpen:
		return errClosed
	case d.failure != nil:
		return fmt.Errorf("file destination: it has failed, and must be opened again: %w", d.failure)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	d.failure = errPanicked // unless write returns
	defer func() {
		d.outputs.encoder.reset()
		if d.failure == nil {
			return
		}
		d.failure = errors.Join(d.failure, d.outputs.abandon())
		d.dropAcks()
		err = fmt.Errorf("file destination: %w", d.failure)
	}()
	d.failure = d.write(ctx, records)
	return nil
}

func (d *Destination) write(ctx context.Context, records []opencdc.Record) error {
	d.acks = d.ackMemory.Take(len(records))
	for i := range records {
		d.acks = append(d.acks, connector.DestinationAck{Position: records[i].Position})
	}
	d.group(records)
	for i := range d.groups.all {
		if err := d.writeGroup(ctx, records, &d.groups.all[i]); err != nil {
			return err
		}
	}
	return d.outputs.confirm()
}

// group divides the records by file. It refuses records without a file.
func (d *Destination) group(records []opencdc.Record) {
	d.groups.reset(len(records))
	for i := range records {
		if err := d.groups.add(d.outputs.template, &records[i], i); err != nil {
			d.acks[i].Error = err
		}
	}
}

// writeGroup appends the records of a file.
func (d *Destination) writeGroup(ctx context.Context, records []opencdc.Record, g *group) error {
	e := d.outputs.encoder
	text := append(d.textMemory.Take(len(e.header)), e.header...)
	defer func() { d.textMemory.Put(text) }()
	for i := g.first; i >= 0; i = d.groups.next[i] {
		end := len(text)
		var err error
		if text, err = e.append(text, &records[i]); err != nil {
			d.acks[i].Error = err
			continue
		}
		if len(text) <= d.outputs.maxAppend || end == 0 {
			continue
		}
		if isFit, err := d.append(ctx, g, text[:end]); err != nil || !isFit {
			return err
		}
		n := copy(text[len(e.header):], text[end:])
		text = text[:len(e.header)+n]
	}
	if len(text) == len(e.header) {
		return nil
	}
	_, err := d.append(ctx, g, text)
	return err
}

// append appends text, with the header before it, to the file of a group. If there can be
// no such file, it refuses the records and returns false.
func (d *Destination) append(ctx context.Context, g *group, text []byte) (isFit bool, err error) {
	f, err := d.outputs.get(ctx, g.path)
	if u := (*unfitError)(nil); errors.As(err, &u) {
		for i := g.first; i >= 0; i = d.groups.next[i] {
			if d.acks[i].Error == nil {
				d.acks[i].Error = err
			}
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, d.outputs.append(f, text)
}

// Ack returns the acks of the last Write. A second call returns none.
func (d *Destination) Ack(context.Context) ([]connector.DestinationAck, error) {
	if d.areTaken {
		return nil, nil
	}
	d.areTaken = true
	return d.acks, nil
}

// dropAcks forgets the last Write.
func (d *Destination) dropAcks() {
	d.ackMemory.Put(d.acks)
	d.acks, d.areTaken = nil, false
}

// Teardown closes the files.
func (d *Destination) Teardown(context.Context) error {
	d.isOpen = false
	d.dropAcks()
	if err := d.outputs.closeAll(); err != nil {
		return fmt.Errorf("file destination: %w", err)
	}
	return nil
}
