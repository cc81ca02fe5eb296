package docs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

import (
	"testing"
	"testing/synctest"
)

func countToThree(ctx context.Context) error {
	next := 1
	numbers := funnel.SourceFunc(func(context.Context) ([]opencdc.Record, error) {
		if next > 3 {
			return nil, io.EOF // there are no more records
		}
		text := strconv.Itoa(next)
		next++
		return []opencdc.Record{{
			Position: opencdc.Position(text),
			Payload:  opencdc.Change{After: opencdc.RawData("number " + text)},
		}}, nil
	})
	return funnel.From("numbers", numbers).To("out", funnel.DestinationFunc(printSource)).Run(ctx)
}

func printSource(_ context.Context, records []opencdc.Record) error {
	for _, record := range records {
		fmt.Printf("%s (position %s)\n", record.Payload.After.Bytes(), record.Position)
	}
	return nil
}

func Example_sourceFunc() {
	if err := countToThree(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// number 1 (position 1)
	// number 2 (position 2)
	// number 3 (position 3)
}

// lineSource is a source of the lines of a file. The position of a record is the offset of
// the byte after its line: where to continue.
type lineSource struct {
	path  string
	next  int64 // the offset of the byte that is read next
	batch int   // lines per read

	file   *os.File
	reader *bufio.Reader
}

// newLineSource returns a source of the lines after a position, or of all if it is nil.
func newLineSource(path string, from opencdc.Position, batch int) (*lineSource, error) {
	s := &lineSource{path: path, batch: batch}
	if from == nil {
		return s, nil
	}
	var err error
	if s.next, err = strconv.ParseInt(string(from), 10, 64); err != nil {
		return nil, fmt.Errorf("invalid position: %w", err)
	}
	return s, nil
}

func (s *lineSource) ID() string           { return s.path }
func (s *lineSource) Errors() <-chan error { return nil }

// Open opens the file at the position.
func (s *lineSource) Open(context.Context) (err error) {
	if s.file, err = os.Open(s.path); err != nil {
		return err
	}
	if _, err := s.file.Seek(s.next, io.SeekStart); err != nil {
		return errors.Join(err, s.file.Close()) // Teardown is not called
	}
	s.reader = bufio.NewReader(s.file)
	return nil
}

func (s *lineSource) Read(context.Context) ([]opencdc.Record, error) {
	records := make([]opencdc.Record, 0, s.batch) // a new slice: the engine owns it
	for len(records) < s.batch {
		line, err := s.reader.ReadString('\n')
		if line != "" {
			s.next += int64(len(line))
			records = append(records, opencdc.Record{
				Position: strconv.AppendInt(nil, s.next, 10),
				Payload:  opencdc.Change{After: opencdc.RawData(strings.TrimSuffix(line, "\n"))},
			})
		}
		if err != nil {
			return records, err // io.EOF together with the last records
		}
	}
	return records, nil
}

// Ack has nothing to do: a file keeps what was read.
func (s *lineSource) Ack(context.Context, []opencdc.Position) error { return nil }

func (s *lineSource) Teardown(context.Context) error { return s.file.Close() }

func resumeLines(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "in.txt")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\nfour\nfive\n"), 0o600); err != nil {
		return err
	}
	store, err := position.NewFiles(filepath.Join(dir, "positions"))
	if err != nil {
		return err
	}
	lines := position.Track("lines", store, func(from opencdc.Position) (funnel.Source, error) {
		return newLineSource(path, from, 2)
	})
	failing := func(ctx context.Context, records []opencdc.Record) error {
		if string(records[0].Payload.After.Bytes()) == "three" {
			return errors.New("disk full")
		}
		return printSource(ctx, records)
	}
	for _, write := range []func(context.Context, []opencdc.Record) error{failing, printSource} {
		err := funnel.From("lines", lines).To("out", funnel.DestinationFunc(write)).Run(ctx)
		fmt.Println("end of run:", err)
	}
	return nil
}

func Example_sourceResumes() {
	dir, err := os.MkdirTemp("", "funnel")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := resumeLines(context.Background(), dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// one (position 4)
	// two (position 8)
	// end of run: task "out": failed to write 2 records, from "14" on: disk full
	// three (position 14)
	// four (position 19)
	// five (position 24)
	// end of run: <nil>
}

// clock is a source that returns a record a second.
type clock struct {
	ticks int
	torn  chan struct{} // closed by Teardown
}

func (c *clock) ID() string                                    { return "clock" }
func (c *clock) Errors() <-chan error                          { return nil }
func (c *clock) Ack(context.Context, []opencdc.Position) error { return nil }

func (c *clock) Open(context.Context) error {
	c.torn = make(chan struct{})
	return nil
}

func (c *clock) Read(ctx context.Context) ([]opencdc.Record, error) {
	select {
	case <-time.After(time.Second):
	case <-c.torn:
		return nil, errors.New("the clock was torn down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.ticks++
	return []opencdc.Record{{
		Position: opencdc.Position(strconv.Itoa(c.ticks)),
		Payload:  opencdc.Change{After: opencdc.RawData("tick")},
	}}, nil
}

func (c *clock) Teardown(context.Context) error {
	close(c.torn)
	return nil
}

func stopClock(ctx context.Context) error {
	worker, err := funnel.From("clock", &clock{}).To("out", funnel.DestinationFunc(printSource)).Worker()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()

	time.Sleep(2500 * time.Millisecond)
	err = errors.Join(worker.Stop(ctx), <-done) // Stop tears the source down
	fmt.Println("stopped:", err)
	return err
}

func TestSourceStops(t *testing.T) {
	wantBubbleOutput(t, stopClock, `
tick (position 1)
tick (position 2)
stopped: <nil>
`)
}

func sendPayments(ctx context.Context) error {
	payments := funnel.NewChannelSource(nil)
	worker, err := funnel.From("payments", payments).
		Through("check", funnel.Map(checkPayment)).
		To("ledger", funnel.DestinationFunc(printSource)).
		DeadLetters("refused", funnel.DestinationFunc(discardSource), 100, 10).
		Worker()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()

	for _, text := range []string{"5 to Ann", ""} { // a server calls Send in each request
		record := opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(text)}}
		outcome, err := payments.Send(ctx, record)
		fmt.Println(outcome, err)
	}
	payments.Close()
	return <-done
}

func checkPayment(record opencdc.Record) (opencdc.Record, error) {
	if len(record.Payload.After.Bytes()) == 0 {
		return record, errors.New("the payment is empty")
	}
	return record, nil
}

func discardSource(context.Context, []opencdc.Record) error { return nil }

func Example_sourceSend() {
	if err := sendPayments(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 5 to Ann (position 1)
	// delivered <nil>
	// dead-lettered task "check": the payment is empty
}

// wantBubbleOutput runs f in a bubble, where time passes only while everything waits, and
// fails the test unless f prints what is wanted.
func wantBubbleOutput(t *testing.T, f func(context.Context) error, want string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdout := os.Stdout
	os.Stdout = out
	defer func() { os.Stdout = stdout }()
	synctest.Test(t, func(t *testing.T) {
		if err := f(t.Context()); err != nil {
			t.Error(err)
		}
	})
	got, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != strings.TrimPrefix(want, "\n") {
		t.Errorf("the output is\n%swant\n%s", got, want)
	}
}
