package file_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
