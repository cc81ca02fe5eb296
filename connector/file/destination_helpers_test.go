package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// newDestination returns a destination that is not open.
func newDestination(t testing.TB, path string, format file.Format, opts ...file.DestinationOption) *file.Destination {
	t.Helper()
	d, err := file.NewDestination(path, format, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// openDestination returns an open destination, which is torn down after the test.
func openDestination(t testing.TB, path string, format file.Format, opts ...file.DestinationOption) *file.Destination {
	t.Helper()
	d := newDestination(t, path, format, opts...)
	open(t, t.Context(), d)
	return d
}

// open opens a destination, which is torn down after the test.
func open(t testing.TB, ctx context.Context, d *file.Destination) {
	t.Helper()
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// deliver writes records, and returns the errors of their acks.
func deliver(t testing.TB, d *file.Destination, recs ...opencdc.Record) []error {
	t.Helper()
	if err := d.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	acks, err := d.Ack(t.Context())
	if err != nil || len(acks) != len(recs) {
		t.Fatalf("%d acks for %d records, %v", len(acks), len(recs), err)
	}
	errs := make([]error, len(acks))
	for i, ack := range acks {
		if string(ack.Position) != string(recs[i].Position) {
			t.Fatalf("ack %d is of %s, want %s", i, ack.Position, recs[i].Position)
		}
		errs[i] = ack.Error
	}
	return errs
}

// mustWrite fails the test if a record is refused.
func mustWrite(t testing.TB, d *file.Destination, recs ...opencdc.Record) {
	t.Helper()
	if err := errors.Join(deliver(t, d, recs...)...); err != nil {
		t.Fatal(err)
	}
}

// raw returns a record of raw data.
func raw(text string) opencdc.Record {
	return opencdc.Record{
		Position:  opencdc.Position("p " + text),
		Operation: opencdc.OperationCreate,
		Payload:   opencdc.Change{After: opencdc.RawData(text)},
	}
}

// fields returns a record of structured data, given by names and values in turn.
func fields(namesAndValues ...any) opencdc.Record {
	after := opencdc.StructuredData{}
	for i := 0; i < len(namesAndValues); i += 2 {
		after[namesAndValues[i].(string)] = namesAndValues[i+1]
	}
	return opencdc.Record{
		Position:  opencdc.Position(fmt.Sprint("p ", len(namesAndValues))),
		Operation: opencdc.OperationCreate,
		Payload:   opencdc.Change{After: after},
	}
}

// lines returns records with the lines begin to end-1.
func lines(begin, end int) []opencdc.Record {
	var recs []opencdc.Record
	for i := begin; i < end; i++ {
		recs = append(recs, raw("line "+strconv.Itoa(i)))
	}
	return recs
}

// content returns what is in a file, or an error text.
func content(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// wantContent fails the test unless the file has this content.
func wantContent(t testing.TB, path, want string) {
	t.Helper()
	if got := content(path); got != want {
		t.Errorf("%s holds\n%s\nwant\n%s", path, quoted(got), quoted(want))
	}
}

func quoted(s string) string {
	if len(s) > 500 {
		return fmt.Sprintf("%q and %d bytes more", s[:500], len(s)-500)
	}
	return strconv.Quote(s)
}

// wantError fails the test unless err contains all texts.
func wantError(t testing.TB, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("there is no error, want one with %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error is %q, want %q in it", err, text)
		}
	}
}

// tree returns the files below a directory with their content, as "name=content ...".
func tree(t testing.TB, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		all = append(all, filepath.ToSlash(rel)+"="+content(path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}
