package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// faults collects reports of ownership checks.
type faults struct {
	mu  sync.Mutex
	all []error
}

func (f *faults) report(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

// want fails the test unless there is exactly one report, about the task and with the
// words, or none if task is empty.
func (f *faults) want(t *testing.T, task, words string) {
	t.Helper()
	if task == "" {
		if len(f.all) > 0 {
			t.Errorf("reported %v", f.all)
		}
		return
	}
	if len(f.all) != 1 {
		t.Fatalf("%d reports, want 1: %v", len(f.all), f.all)
	}
	fake.WantTask(t, f.all[0], task)
	if !strings.Contains(f.all[0].Error(), words) {
		t.Errorf("reported %v, want %q", f.all[0], words)
	}
}

// sloppy is a destination that acks everything and breaks a rule.
type sloppy struct {
	*fake.Destination
	kept []opencdc.Record
}

func newSloppy(name string) *sloppy {
	return &sloppy{Destination: fake.NewDestination(&fake.Journal{}, name)}
}

func TestWithOwnershipChecks_destination(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(d *sloppy)
		words   string // "" if there is no fault
	}{
		"clean": {prepare: func(*sloppy) {}},
		"keeps records": {prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				d.kept = append(d.kept, recs...)
				return nil
			}
		}},
		"changes metadata": {words: "has changed, during Write, what a record holds", prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				recs[0].Metadata["written"] = "true"
				return nil
			}
		}},
		"changes bytes": {words: "has changed, during Write", prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				recs[0].Payload.After.(opencdc.RawData)[0]++
				return nil
			}
		}},
		"changes the slice": {words: "has changed the slice", prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				recs[0].Key = opencdc.RawData("key")
				return nil
			}
		}},
		"changes records before it acks them": {words: "has changed, after Write", prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				d.kept = slices.Clone(recs)
				return nil
			}
			d.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
				d.kept[0].Metadata["acked"] = "true"
				return d.Pending, nil
			}
		}},
		"changes records after the last ack": {words: "has changed, after its last ack, what a record holds", prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if d.kept != nil {
					d.kept[0].Metadata["late"] = "true"
				}
				d.kept = slices.Clone(recs)
				return nil
			}
		}},
		"writes to an old slice": {words: "has written to the slice of an earlier write", prepare: func(d *sloppy) {
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
				if d.kept != nil {
					d.kept[0] = opencdc.Record{}
					d.kept = nil
				} else {
					d.kept = recs
				}
				return nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, as := range []string{"linear", "branch", "queue"} {
				var f faults
				d := newSloppy(as)
				tt.prepare(d)
				j := &fake.Journal{}
				source := fake.From(fake.SourceOf(j, "1 2", "3 4", "5"))
				task := &funnel.TaskNode{Task: funnel.NewDestinationTask(as, d, log.Nop(), nil)}
				dlq := fake.DLQ(j)
				switch as {
				case "linear":
					fake.Chain(source, task)
				case "branch":
					fake.Fork(source, task, fake.Out(j))
				case "queue":
					fake.Chain(source, fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
					dlq = funnel.NewDLQ(as, d, log.Nop(), nil, 0, 0)
					if name == "changes bytes" {
						continue // there are none in a dead letter
					}
				}
				w := fake.NewWorker(t, source, dlq, funnel.WithOwnershipChecks(f.report))
				fake.WantNoError(t, fake.RunWorker(t, w))
				if tt.words == "" {
					f.want(t, "", "")
					continue
				}
				if len(f.all) == 0 || !strings.Contains(f.all[0].Error(), tt.words) || !strings.Contains(f.all[0].Error(), `"`+as+`"`) {
					t.Errorf("%s: reported %v, want %q", as, f.all, tt.words)
				}
			}
		})
	}
}

// A destination that keeps the slice that it was given, and acks from it, is found.
func TestWithOwnershipChecks_destinationKeepsSlice(t *testing.T) {
	var f faults
	d := newSloppy("out")
	d.OnWrite = func(_ context.Context, recs []opencdc.Record) error { d.kept = recs; return nil }
	d.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
		return []connector.DestinationAck{{Position: d.kept[0].Position}}, nil
	}
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(&fake.Journal{}, "1")),
		&funnel.TaskNode{Task: funnel.NewDestinationTask("out", d, log.Nop(), nil)}), nil, funnel.WithOwnershipChecks(f.report))
	fake.WantError(t, fake.RunWorker(t, w), funnel.ErrAckMismatch)
	f.want(t, "out", "must not keep after Write")
}

// A destination is also checked inside decorators.
func TestWithOwnershipChecks_decorated(t *testing.T) {
	limited := func(d funnel.Destination) funnel.Destination {
		return funnel.NewLimitedDestination(d, funnel.WriteLimit{Records: 2})
	}
	retrying := func(d funnel.Destination) funnel.Destination {
		return funnel.NewRetryDestination(d, funnel.DestinationRetry{})
	}
	for name, decorate := range map[string]func(funnel.Destination) funnel.Destination{
		"limited":  limited,
		"retrying": retrying,
		"both":     func(d funnel.Destination) funnel.Destination { return limited(retrying(d)) },
	} {
		for words, write := range map[string]func(recs []opencdc.Record){
			"":                      func([]opencdc.Record) {},
			"has changed the slice": func(recs []opencdc.Record) { recs[0].Key = opencdc.RawData("key") },
			"has changed, during":   func(recs []opencdc.Record) { recs[0].Metadata["a"] = "b" },
		} {
			var f faults
			d := newSloppy("out")
			d.OnWrite = func(_ context.Context, recs []opencdc.Record) error { write(recs); return nil }
			task := &funnel.TaskNode{Task: funnel.NewDestinationTask("out", decorate(d), log.Nop(), nil)}
			j := &fake.Journal{}
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3", "4")), task), nil, funnel.WithOwnershipChecks(f.report))
			fake.WantNoError(t, fake.RunWorker(t, w))
			if isFault := len(f.all) > 0; isFault != (words != "") || isFault && !strings.Contains(f.all[0].Error(), words) {
				t.Errorf("%s: reported %v, want %q", name, f.all, words)
			}
			j.Want(t, "ack", "ack 1 2 3", "ack 4")
		}
	}
}

func TestWithOwnershipChecks_source(t *testing.T) {
	buffer := make([]opencdc.Record, 2)
	position := []byte("1")
	var last []opencdc.Record
	for name, tt := range map[string]struct {
		read  func(i int) []opencdc.Record // the i-th read, from 1
		words string
	}{
		"clean": {read: func(i int) []opencdc.Record { return fake.Records(fmt.Sprint(i)) }},
		"reuses the slice": {words: "has written to a slice that it had returned", read: func(i int) []opencdc.Record {
			return append(buffer[:0], fake.Records(fmt.Sprint(i))...)
		}},
		"returns it again": {words: "has returned records from a slice", read: func(i int) []opencdc.Record {
			if i == 1 {
				last = fake.Records("1", "2")
			}
			return last[:1]
		}},
		"reuses a position": {words: "has changed a record that it had returned, or its position", read: func(i int) []opencdc.Record {
			position[0] = byte('0' + i)
			recs := fake.Records("x")
			recs[0].Position = position
			return recs
		}},
		"changes a record": {words: "has changed a record that it had returned", read: func(i int) []opencdc.Record {
			if i > 1 {
				last[0].Metadata["late"] = "true"
			}
			recs := fake.Records(fmt.Sprint(i))
			last = slices.Clone(recs)
			return recs
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				var f faults
				j := &fake.Journal{}
				source := fake.NewSource(j)
				n := 0
				source.OnRead = func(context.Context) ([]opencdc.Record, error) {
					if n++; n > 2 {
						return nil, io.EOF
					}
					return tt.read(n), nil
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.Out(j)), nil, append(opts, funnel.WithOwnershipChecks(f.report))...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				if tt.words == "" {
					f.want(t, "", "")
				} else if len(f.all) == 0 {
					t.Error("nothing is reported")
				} else {
					fake.WantTask(t, f.all[0], "source")
					if !slices.ContainsFunc(f.all, func(err error) bool { return strings.Contains(err.Error(), tt.words) }) {
						t.Errorf("reported %v, want %q", f.all, tt.words)
					}
				}
			})
		})
	}
}

func TestWithOwnershipChecks_processor(t *testing.T) {
	var kept []opencdc.Record
	for name, tt := range map[string]struct {
		process fake.Processor
		words   string
	}{
		"clean": {process: fake.Each(fake.Pass)},
		"changes its input": {process: func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			for i := range recs {
				recs[i].Metadata["seen"] = "true"
				recs[i].Key = opencdc.RawData("key")
				recs[i].Position = opencdc.Position("new " + string(recs[i].Position))
			}
			return fake.Each(fake.Pass)(ctx, recs)
		}},
		"returns parts of its input": {process: func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := make([]sdk.ProcessedRecord, len(recs))
			for i := range recs {
				results[i] = sdk.MultiRecord(recs[i : i+1])
			}
			return results
		}},
		"writes to a position": {words: "has written to the bytes of a position", process: func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if recs[0].Position[0] == '1' {
				recs[0].Position[0] = '7'
			}
			return fake.Each(fake.Pass)(ctx, recs)
		}},
		"writes to an old slice": {words: "has written to the slice that it was given in an earlier call", process: func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if recs[0].Position[0] == '1' {
				kept = recs
			} else {
				kept[0].Key = opencdc.RawData("late")
			}
			return fake.Each(fake.Pass)(ctx, recs)
		}},
		"returns records of an old slice": {words: "has returned a record from the slice that it was given in an earlier call", process: func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			if recs[0].Position[0] == '1' {
				kept = recs
				return fake.Each(fake.Pass)(ctx, recs)
			}
			return []sdk.ProcessedRecord{sdk.SingleRecord(kept[0])}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var f faults
			j := &fake.Journal{}
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1", "2")), fake.Through("p", tt.process), fake.Out(j)), nil,
				funnel.WithOwnershipChecks(f.report))
			fake.WantNoError(t, fake.RunWorker(t, w))
			if tt.words == "" {
				f.want(t, "", "")
			} else {
				f.want(t, "p", tt.words)
			}
		})
	}
}

// A custom task that writes to the bytes of a position is found, also on a branch. The
// report names it although others share the record.
func TestWithOwnershipChecks_customTask(t *testing.T) {
	var f faults
	j := &fake.Journal{}
	bad := fake.Custom("bad", func(_ context.Context, b *funnel.Batch) error {
		b.ActiveRecords()[0].Position[0]++
		return nil
	})
	good := fake.Custom("good", func(context.Context, *funnel.Batch) error { return nil })
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1", "5")), bad, good, fake.Out(j)), nil, funnel.WithOwnershipChecks(f.report))
	fake.WantNoError(t, fake.RunWorker(t, w))
	if len(f.all) != 2 {
		t.Fatalf("reported %v", f.all)
	}
	for _, err := range f.all {
		fake.WantTask(t, err, "bad")
	}
	j.Want(t, "ack", "ack 1", "ack 5")
}

// The checks do not change the result: a record that is too deep to be copied goes to
// destinations that only read, and values that are not equal to themselves are no fault.
func TestWithOwnershipChecks_changesNothing(t *testing.T) {
	deep := opencdc.StructuredData{}
	for range 11_000 {
		deep = opencdc.StructuredData{"deeper": deep}
	}
	recs := fake.Records("1", "2")
	recs[0].Payload.After = deep
	recs[1].Payload.After = opencdc.StructuredData{"nan": math.NaN()}
	var f faults
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.NewSource(j, fake.Read{Records: recs})), fake.Out(j), fake.To(fake.NewDestination(j, "other"))),
		nil, funnel.WithOwnershipChecks(f.report))
	fake.WantNoError(t, fake.RunWorker(t, w))
	f.want(t, "", "")
	j.WantGiven(t, "1 2", "", "1 2")
}

// A queue that writes to the bytes of a position is named, and nobody else.
func TestWithOwnershipChecks_queueWritesPosition(t *testing.T) {
	for _, opts := range [][]funnel.WorkerOption{nil, {funnel.WithWholeBatches()}} {
		var f faults
		j := &fake.Journal{}
		queue := fake.NewDestination(j, "dlq")
		queue.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			recs[0].Position[0]++
			queue.Pending[0].Position = opencdc.Position("1")
			return nil
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Fail})), fake.Out(j)),
			fake.Queue(queue), append(opts, funnel.WithOwnershipChecks(f.report))...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		f.want(t, "dlq", "during Write")
	}
}

func TestWithOwnershipChecks_nil(t *testing.T) {
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(&fake.Journal{})), fake.Out(&fake.Journal{})), nil, log.Nop(), nil,
		funnel.WithOwnershipChecks(nil))
	if err == nil || errors.Unwrap(err) != nil {
		t.Errorf("got %v", err)
	}
}

// A report that panics when Do ends hides neither an error nor a panic.
func TestWithOwnershipChecks_reportPanics(t *testing.T) {
	for name, end := range map[string]func() error{
		"error": func() error { return fake.ErrTest },
		"panic": func() error { panic(fake.ErrTest) },
	} {
		var kept []opencdc.Record
		d := newSloppy("out")
		d.OnWrite = func(_ context.Context, recs []opencdc.Record) error { kept = recs; return nil }
		source := fake.SourceOf(&fake.Journal{}, "1")
		source.OnAck = func(context.Context, []opencdc.Position) error { kept[0] = opencdc.Record{}; return end() }
		w := fake.NewWorker(t, fake.Chain(fake.From(source), &funnel.TaskNode{Task: funnel.NewDestinationTask("out", d, log.Nop(), nil)}), nil,
			funnel.WithOwnershipChecks(func(error) { panic("report") }))
		func() {
			defer func() {
				panicked, ok := recover().(*funnel.PanicError)
				if !ok || panicked.Value != "report" || !errors.Is(panicked, fake.ErrTest) {
					t.Errorf("%s: panicked with %v", name, panicked)
				}
			}()
			_ = w.Do(t.Context())
		}()
	}
}
