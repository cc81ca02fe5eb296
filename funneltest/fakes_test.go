package funneltest_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
	"go.uber.org/mock/gomock"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/funneltest"
	"github.com/conduitio/funnel/funneltest/funnelmock"
	"github.com/conduitio/funnel/log"
)

// Without Open, the fakes are open.
func TestSource_batches(t *testing.T) {
	s := &funneltest.Source{Batches: [][]opencdc.Record{
		funneltest.Records("a", "b"), {}, {{Position: opencdc.Position("own")}, funneltest.Record("d")},
	}}
	var got []string
	for {
		records, err := s.Read(t.Context())
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			got = append(got, string(r.Position)+" "+funneltest.Payload(r))
		}
	}
	if !slices.Equal(got, []string{"1 a", "2 b", "own ", "4 d"}) {
		t.Errorf("read %q", got)
	}
	if len(s.Batches[0][0].Position) > 0 {
		t.Error("the test's records have changed")
	}
}

// What was not acked is read again, also from the middle of a batch.
func TestSource_reopened(t *testing.T) {
	s := &funneltest.Source{Batches: [][]opencdc.Record{funneltest.Records("a", "b", "c"), funneltest.Records("d")}}
	read := func() (all []string) {
		t.Helper()
		if err := s.Open(t.Context()); err != nil || !s.IsOpen() {
			t.Fatal(err)
		}
		for range 10 {
			records, err := s.Read(t.Context())
			if err == io.EOF {
				break
			}
			all = append(all, funneltest.Payloads(records)...)
		}
		if err := s.Teardown(t.Context()); err != nil || s.IsOpen() {
			t.Fatal(err)
		}
		return all
	}
	for acked, wantRead := range [][]string{{"a", "b", "c", "d"}, {"b", "c", "d"}, {"c", "d"}, {"d"}, {}} {
		if got := read(); !slices.Equal(got, wantRead) {
			t.Errorf("after %d acks: %q, want %q", acked, got, wantRead)
		}
		_ = s.Ack(t.Context(), []opencdc.Position{{byte('1' + acked)}})
	}
	s.WantAcked(t, "1", "2", "3", "4", "5")
}

func TestSource_blocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &funneltest.Source{Blocks: true}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Read(ctx); err != context.DeadlineExceeded {
			t.Errorf("its context has ended: %v", err)
		}
		time.AfterFunc(time.Second, func() { _ = s.Teardown(t.Context()) })
		for range 2 {
			if _, err := s.Read(t.Context()); err == nil || err == io.EOF {
				t.Errorf("it was torn down: %v", err)
			}
		}
	})
}

func TestSource_errors(t *testing.T) {
	s := &funneltest.Source{Batches: [][]opencdc.Record{funneltest.Records("a")}, Err: errTest, AckErr: errTest, OpenErr: errTest, TeardownErr: errTest}
	_, first := s.Read(t.Context())
	_, second := s.Read(t.Context())
	if first != nil || second != errTest {
		t.Errorf("Read: %v, then %v", first, second)
	}
	for _, err := range []error{s.Open(t.Context()), s.Ack(t.Context(), []opencdc.Position{{}}), s.Teardown(t.Context())} {
		if err != errTest {
			t.Error(err)
		}
	}
	if s.WantAcked(t); s.IsOpen() {
		t.Error("it is open")
	}
}

func positionsOf(acks []connector.DestinationAck) (all []string) {
	for _, ack := range acks {
		word := string(ack.Position)
		if ack.Error != nil {
			word += "!"
		}
		all = append(all, word)
	}
	return all
}

func TestDestination_acks(t *testing.T) {
	d := &funneltest.Destination{AckAtMost: 2, Refuse: func(r opencdc.Record) error {
		if funneltest.Payload(r) == "b" {
			return errTest
		}
		return nil
	}}
	records := funneltest.Records("a", "b", "c")
	for i := range records {
		records[i].Position = opencdc.Position(funneltest.Payload(records[i]))
	}
	if err := errors.Join(d.Write(t.Context(), records), d.Write(t.Context(), records[:1])); err != nil {
		t.Fatal(err)
	}
	d.Want(t)
	for _, want := range [][]string{{"a", "b!"}, {"c", "a"}, nil} {
		acks, err := d.Ack(t.Context())
		if got := positionsOf(acks); err != nil || !slices.Equal(got, want) {
			t.Errorf("Ack: %q, %v, want %q", got, err, want)
		}
	}
	d.Want(t, "a", "c", "a")
	if writes := d.Writes(); len(writes) != 2 || len(writes[0]) != 3 || len(writes[1]) != 1 {
		t.Errorf("writes: %v", writes)
	}
	want(t, failing(t, func(t testing.TB) { d.Want(t, "a", "b") }), "- b", "+ c")
	_ = d.Write(t.Context(), records)
	if err := d.Open(t.Context()); err != nil || !d.IsOpen() {
		t.Error(err)
	}
	if acks, _ := d.Ack(t.Context()); len(acks) > 0 {
		t.Errorf("acks from before Open: %v", acks)
	}
}

func TestDestination_slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &funneltest.Destination{Delay: time.Minute, Hangs: true}
		start := time.Now()
		if err := d.Write(t.Context(), funneltest.Records("a")); err != nil || time.Since(start) != time.Minute {
			t.Errorf("Write: %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Write(ctx, funneltest.Records("b")); err != context.DeadlineExceeded {
			t.Errorf("Write: %v", err)
		}
		if _, err := d.Ack(ctx); err != context.DeadlineExceeded {
			t.Errorf("Ack: %v", err)
		}
		time.AfterFunc(time.Second, func() { _ = d.Teardown(t.Context()) })
		if _, err := d.Ack(t.Context()); err == nil {
			t.Error("Ack returns nothing after the teardown")
		}
		if err := d.Write(t.Context(), funneltest.Records("c")); err == nil {
			t.Error("Write works after the teardown")
		}
		if n := len(d.Writes()); n != 1 {
			t.Errorf("%d writes", n)
		}
	})
}

func TestDestination_errors(t *testing.T) {
	d := &funneltest.Destination{OpenErr: errTest, WriteErr: errTest, AckErr: errTest, TeardownErr: errTest}
	_, ackErr := d.Ack(t.Context())
	for _, err := range []error{d.Open(t.Context()), d.Write(t.Context(), funneltest.Records("a")), ackErr, d.Teardown(t.Context())} {
		if err != errTest {
			t.Error(err)
		}
	}
	if len(d.Writes()) > 0 || d.IsOpen() {
		t.Error("it has done something")
	}
}

func TestProcessor(t *testing.T) {
	p := &funneltest.Processor{AnswersAtMost: 2}
	records := funneltest.Records("a", "b", "c")
	results := p.Process(t.Context(), records)
	if len(results) != 2 || funneltest.Payload(opencdc.Record(results[1].(sdk.SingleRecord))) != "b" {
		t.Errorf("results: %v", results)
	}
	records[0].Metadata["changed"] = "yes"
	if seen := p.Seen(); !slices.Equal(funneltest.Payloads(seen), []string{"a", "b"}) || len(seen[0].Metadata) > 0 {
		t.Errorf("seen: %v", seen)
	}
	p = &funneltest.Processor{OpenErr: errTest, TeardownErr: errTest}
	if p.Open(t.Context()) != errTest || p.Teardown(t.Context()) != errTest || !p.IsConcurrent() {
		t.Error("no errors")
	}
}

// The fakes may be used by several goroutines.
func TestFakes_concurrent(t *testing.T) {
	s := &funneltest.Source{Batches: [][]opencdc.Record{funneltest.Records("a"), funneltest.Records("b")}, Blocks: true}
	d, p := &funneltest.Destination{}, &funneltest.Processor{}
	parallel, err := funnel.NewParallelProcessor(p, 2)
	if err != nil {
		t.Fatal(err)
	}
	w, err := funnel.From("s", s).Through("p", parallel).To("d", d).Options(funnel.WithReadAhead(10)).Worker()
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for len(s.Acked()) < 2 {
		_, _, _, _ = d.Records(), d.Writes(), p.Seen(), s.IsOpen() || d.IsOpen()
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	running.Wait()
}

// A worker runs on mocks.
func TestFunnelmock(t *testing.T) {
	ctrl := gomock.NewController(t)
	source, out := funnelmock.NewMockSource(ctrl), funnelmock.NewMockDestination(ctrl)
	processor, task := funnelmock.NewMockProcessor(ctrl), funnelmock.NewMockTask(ctrl)
	records := []opencdc.Record{{Position: opencdc.Position("1")}}
	task.EXPECT().ID().Return("task")
	gomock.InOrder(
		source.EXPECT().Read(t.Context()).Return(records, io.EOF),
		processor.EXPECT().Process(t.Context(), records).Return([]sdk.ProcessedRecord{sdk.SingleRecord(records[0])}),
		task.EXPECT().Do(t.Context(), gomock.Any()).Return(nil),
		out.EXPECT().Write(t.Context(), records).Return(nil),
		out.EXPECT().Ack(t.Context()).Return([]connector.DestinationAck{{Position: records[0].Position}}, nil),
		source.EXPECT().Ack(t.Context(), []opencdc.Position{records[0].Position}).Return(nil),
	)
	first := &funnel.TaskNode{Task: funnel.NewSourceTask("source", source, log.Test(t), nil)}
	for _, next := range []funnel.Task{
		funnel.NewProcessorTask("p", processor, log.Test(t), nil), task,
		funnel.NewDestinationTask("out", out, log.Test(t), nil),
	} {
		if err := first.AppendToEnd(&funnel.TaskNode{Task: next}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := funnel.NewWorker(first, nil, log.Test(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Do(t.Context()); err != nil {
		t.Error(err)
	}
}

// The functions that a test gives to a fake may ask the fake.
func TestFakes_askThemselves(t *testing.T) {
	d := &funneltest.Destination{}
	d.Refuse = func(opencdc.Record) error {
		if len(d.Writes()) == 1 {
			return errTest // the second write
		}
		return nil
	}
	p := &funneltest.Processor{}
	p.Answer = func(r opencdc.Record) sdk.ProcessedRecord {
		if len(p.Seen()) == 2 {
			return sdk.FilterRecord{}
		}
		return sdk.SingleRecord(r)
	}
	s := &funneltest.Source{Batches: [][]opencdc.Record{funneltest.Records("a", "b", "c"), funneltest.Records("d")}}
	r := funneltest.Run(t, funnel.From("s", s).Through("p", p).To("d", d))
	r.Want(t, "d", "a", "c")
	r.WantDeadLetters(t, "test error")
}

// What a processor does to a record in place, however deep, shows neither in what a fake
// has seen, nor in the records of the test, nor in what is read again.
func TestFakes_share(t *testing.T) {
	nested := func() opencdc.StructuredData {
		return opencdc.StructuredData{"list": []any{"a"}, "bytes": []byte("a"), "map": map[string]any{"x": "a"}}
	}
	record := opencdc.Record{Payload: opencdc.Change{After: nested()}}
	spoil := &funneltest.Processor{Answer: func(r opencdc.Record) sdk.ProcessedRecord {
		data := r.Payload.After.(opencdc.StructuredData)
		data["list"].([]any)[0], data["bytes"].([]byte)[0] = "b", 'b'
		data["map"].(map[string]any)["x"] = "b"
		return sdk.SingleRecord(r)
	}}
	s := funneltest.NewSource(record)
	funneltest.Run(t, funnel.From("s", s).Through("spoil", spoil)).WantErr(t, nil)
	if got := spoil.Seen()[0].Payload.After; !reflect.DeepEqual(got, nested()) {
		t.Errorf("seen: %v", got)
	}
	if !reflect.DeepEqual(record.Payload.After, nested()) {
		t.Errorf("the record of the test: %v", record.Payload.After)
	}
}
