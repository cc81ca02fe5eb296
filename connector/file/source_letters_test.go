package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

func TestWithoutWriters(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.jsonl")
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	destination := func() *file.Destination {
		d, err := file.NewDestination(path, file.JSONLines)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	source := func(opts ...file.SourceOption) *file.Source {
		s, err := file.NewSource(dir, file.JSONLines, nil, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	d := destination()
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	if err := source(file.WithoutWriters()).Open(ctx); err == nil || !strings.Contains(err.Error(), path+": the file is locked") {
		t.Errorf("a source without writers was opened while a destination was open: %v", err)
	}
	other := source()
	if err := other.Open(ctx); err != nil {
		t.Errorf("a source that minds no writers: %v", err)
	}
	if err := errors.Join(other.Teardown(ctx), d.Teardown(ctx)); err != nil {
		t.Fatal(err)
	}

	s := source(file.WithoutWriters())
	for range 2 {
		if err := s.Open(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(ctx); err != nil {
			t.Fatal(err)
		}
		if err := destination().Open(ctx); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Errorf("a destination was opened while a source without writers was open: %v", err)
		}
		if err := s.Teardown(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Open(ctx); err != nil {
		t.Errorf("a destination after the source was torn down: %v", err)
	}
	if err := d.Teardown(ctx); err != nil {
		t.Fatal(err)
	}

	if _, err := file.NewSource(dir, file.JSONLines, nil, file.WithoutWriters(), file.WithFollow()); err == nil {
		t.Error("NewSource takes WithoutWriters and WithFollow together")
	}
}

// A source without writers reads no file that was made, and is written, while it was opened.
func TestWithoutWriters_newFile(t *testing.T) {
	const files, rounds = 300, 40
	ctx := t.Context()
	dir := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".jsonl")), []byte(fmt.Sprintf("{\"n\":%d}\n", i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "new.jsonl")
	random := rand.New(rand.NewPCG(1, 1))
	for range rounds {
		s, err := file.NewSource(dir, file.JSONLines, nil, file.WithoutWriters())
		if err != nil {
			t.Fatal(err)
		}
		d, err := file.NewDestination(path, file.JSONLines)
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan error, 1)
		delay := time.Duration(random.IntN(5000)) * time.Microsecond
		go func() {
			for begin := time.Now(); time.Since(begin) < delay; {
				runtime.Gosched()
			}
			err := d.Open(ctx)
			if err == nil {
				err = d.Write(ctx, []opencdc.Record{{Position: opencdc.Position("1"), Payload: opencdc.Change{After: opencdc.StructuredData{}}}})
			}
			opened <- err
		}()
		if errSource, errDestination := s.Open(ctx), <-opened; errSource == nil && errDestination == nil {
			for _, r := range mustReadAll(t, s) {
				if r.Metadata[file.MetadataPath] == path {
					t.Fatal("a file is read while a destination has it open")
				}
			}
		}
		if err := errors.Join(s.Teardown(ctx), d.Teardown(ctx), os.RemoveAll(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// A letter may be longer than its record may be, and what is no letter says why.
func TestNewDeadLetterSource_long(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	in, queue := filepath.Join(dir, "in.jsonl"), filepath.Join(dir, "queue.jsonl")
	longest := `{"a":"` + strings.Repeat("x", 1<<20-8) + `"}`
	overlong := "{" + strings.Repeat("0", 1<<20+100)
	if err := os.WriteFile(in, []byte(longest+"\n"+overlong+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := file.NewSource(in, file.JSONLines, nil)
	if err != nil {
		t.Fatal(err)
	}
	destination, err := file.NewDestination(queue, file.Records)
	if err != nil {
		t.Fatal(err)
	}
	err = funnel.From("in", source).
		Through("fail", funnel.Map(func(r opencdc.Record) (opencdc.Record, error) { return r, errors.New("no") })).
		To("out", funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })).
		DeadLetters("queue", destination, 0, 0).Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sizes := func(opts ...file.SourceOption) (sizes []int, err error) {
		letters, err := file.NewDeadLetterSource(queue, nil, nil, opts...)
		if err != nil {
			return nil, err
		}
		if err := letters.Open(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, letters.Teardown(ctx)) }()
		for {
			records, err := letters.Read(ctx)
			for _, r := range records {
				sizes = append(sizes, len(r.Payload.After.Bytes()))
			}
			if err != nil {
				return sizes, err
			}
		}
	}
	if got, err := sizes(); !errors.Is(err, io.EOF) || !slices.Equal(got, []int{1 << 20, 1 << 20, 101}) {
		t.Errorf("the records have %d bytes, %v", got, err)
	}
	got, err := sizes(file.WithMaxRecordBytes(1 << 20))
	if len(got) != 0 || err == nil || !strings.Contains(err.Error(), "the line is longer than 1048576 bytes") {
		t.Errorf("with a bound: %d, %v", got, err)
	}
}

// bonus is a pipeline over numbers that refuses odd ones until it is mended.
func bonus(source funnel.Source, dir, queue string, isMended bool) *funnel.Pipeline {
	must := func(d *file.Destination, err error) *file.Destination {
		if err != nil {
			panic(err)
		}
		return d
	}
	return funnel.From("numbers", source).
		Through("even", funnel.Map(func(r opencdc.Record) (opencdc.Record, error) {
			n, ok := r.Payload.After.(opencdc.StructuredData)["n"].(int64)
			if !ok || n%2 == 1 && !isMended {
				return r, errors.New("odd")
			}
			return r, nil
		})).
		To("out", must(file.NewDestination(filepath.Join(dir, "out.jsonl"), file.JSONLines))).
		DeadLetters("refused", must(file.NewDestination(filepath.Join(dir, queue), file.Records)), 0, 0)
}

// afterAck does something when records were acked.
type afterAck struct {
	funnel.NopObserver
	do func()
}

func (a *afterAck) RecordsAcked(context.Context, funnel.RecordsAcked) { a.do() }

// A replay goes on where the last one has ended, restores what JSON does not carry, and does
// not write into what it reads.
func TestNewDeadLetterSource(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.jsonl")
	if err := os.WriteFile(in, []byte("{\"n\":1}\n{\"n\":2}\n{\"n\":9007199254740993}\n{\"n\":5}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	numbers, err := file.NewSource(in, file.JSONLines, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := bonus(numbers, dir, "refused.jsonl", false).Run(ctx); err != nil {
		t.Fatal(err)
	}

	store := position.NewMemory()
	letters := position.Track("replay", store, func(from opencdc.Position) (funnel.Source, error) {
		return file.NewDeadLetterSource(filepath.Join(dir, "refused.jsonl"), from, nil, file.WithBatch(1, 1<<20))
	})
	err = bonus(letters, dir, "refused.jsonl", true).Run(ctx)
	if err == nil || !strings.Contains(err.Error(), "refused.jsonl: the file is locked") {
		t.Fatalf("a replay that would write into what it reads: %v", err)
	}

	// The first replay is broken off after one letter.
	interrupted, cancel := context.WithCancel(ctx)
	err = bonus(letters, dir, "again.jsonl", true).Options(funnel.WithObserver(&afterAck{do: cancel})).Run(interrupted)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the interrupted replay: %v", err)
	}
	if err := bonus(letters, dir, "again.jsonl", true).Run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
	if want := "{\"n\":2}\n{\"n\":1}\n{\"n\":9007199254740993}\n{\"n\":5}\n"; err != nil || string(text) != want {
		t.Errorf("the output is %q, %v, want %q", text, err, want)
	}
}

// A letter that a crash has torn was never acked. A replay stops there until the queue was
// opened, which cuts it off, and then comes to its end.
func TestNewDeadLetterSource_torn(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	queue := filepath.Join(dir, "refused.jsonl")
	numbers, err := file.NewSource(write(t, dir, "in.jsonl", "{\"n\":1}\n{\"n\":3}\n"), file.JSONLines, nil)
	must(t, err)
	must(t, bonus(numbers, dir, "refused.jsonl", false).Run(ctx))
	letters, err := os.ReadFile(queue)
	must(t, err)
	grow(t, queue, string(letters[:100]))
	replay := func() (n int, err error) {
		letters, err := file.NewDeadLetterSource(queue, nil, nil)
		must(t, err)
		must(t, letters.Open(ctx))
		defer func() { must(t, letters.Teardown(ctx)) }()
		for {
			recs, err := letters.Read(ctx)
			if n += len(recs); err != nil {
				return n, err
			}
		}
	}
	if n, err := replay(); n != 2 || !strings.Contains(fmt.Sprint(err), "the JSON object is incomplete") {
		t.Errorf("got %d records, %v", n, err)
	}
	d, err := file.NewDestination(queue, file.Records)
	must(t, err)
	must(t, d.Open(ctx))
	must(t, d.Teardown(ctx))
	if n, err := replay(); n != 2 || err != io.EOF {
		t.Errorf("once the queue was opened: got %d records, %v", n, err)
	}
}
