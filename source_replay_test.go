package funnel_test

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/position"
)

// storedLetters returns dead letters of task "p" as a file would return them: from JSON, and
// with positions of their own, "line 1" and so on.
func storedLetters(t *testing.T, records ...opencdc.Record) []opencdc.Record {
	t.Helper()
	letters := deadLettersOf(t, fake.ErrTest, records...)
	for i := range letters {
		letters[i] = throughJSON(t, letters[i])
		letters[i].Position = opencdc.Position(fmt.Sprint("line ", i+1))
	}
	return letters
}

// A replay passes the records on as they were, with the positions of their letters. It
// resumes after the last acked letter.
func TestReplaySource_worker(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		records := []opencdc.Record{richRecord("1"), richRecord("2"), richRecord("3"), richRecord("4")}
		var reads [][]opencdc.Record
		for _, letter := range storedLetters(t, records...) {
			reads = append(reads, []opencdc.Record{letter})
		}
		letters := &funneltest.Source{Batches: reads}
		j := &fake.Journal{}
		run := func(to *fake.Destination, queue *funnel.DLQ, p funnel.Processor) error {
			first := fake.Chain(fake.From(funnel.NewReplaySource(letters)), fake.Through("p", p), fake.To(to))
			return fake.RunWorker(t, fake.NewWorker(t, first, queue, opts...))
		}
		// The destination breaks at the third record.
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			for _, rec := range recs {
				if string(rec.Position) == "line 3" {
					return fake.ErrTest
				}
			}
			return nil
		}
		if err := run(out, nil, fake.Each(fake.Pass)); err == nil {
			t.Fatal("the first run has no error")
		}
		acked := len(letters.Acked())
		if acked > 2 || len(opts) == 0 && acked != 2 {
			t.Fatalf("%d letters are acked", acked)
		}
		// The second run begins there, and a record that fails again is a dead letter again.
		out, dead := fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
		fake.WantNoError(t, run(out, fake.Queue(dead), fake.ByPosition(fake.Answers{"line 4": fake.Fail})))
		var want []opencdc.Record
		for i, rec := range records[acked:3] {
			rec.Position = opencdc.Position(fmt.Sprint("line ", acked+i+1))
			want = append(want, rec)
		}
		if !reflect.DeepEqual(out.Written, want) {
			t.Errorf("written %v, want %v", out.Written, want)
		}
		if got := parse(t, dead.Written[0]); !reflect.DeepEqual(got.Record.Payload, records[3].Payload) || string(got.Record.Position) != "line 4" {
			t.Errorf("the new dead letter holds %v", got.Record)
		}
		if got := fmt.Sprintf("%s", letters.Acked()); got != "[line 1 line 2 line 3 line 4]" {
			t.Errorf("acked %s", got)
		}
	})
}

// Read returns the records before a letter that it refuses, then the error, at each call,
// until the source is opened again.
func TestReplaySource_refusal(t *testing.T) {
	for bad := range 3 {
		letters := storedLetters(t, richRecord("1"), richRecord("2"), richRecord("3"))
		letters[bad].Metadata = nil
		source := funnel.NewReplaySource(&funneltest.Source{Batches: [][]opencdc.Record{letters}})
		for range 2 {
			fake.WantNoError(t, source.Open(t.Context()))
			if bad > 0 {
				got, err := source.Read(t.Context())
				fake.WantNoError(t, err)
				if len(got) != bad || cap(got) != bad || !reflect.DeepEqual(got[0].Payload, richRecord("1").Payload) {
					t.Errorf("letter %d is bad: read %v", bad, got)
				}
			}
			for range 2 {
				got, err := source.Read(t.Context())
				fake.WantError(t, err, nil, "cannot be replayed", "no dead letter", fmt.Sprintf(`"line %d"`, bad+1))
				fake.WantFatal(t, err, true)
				if len(got) > 0 {
					t.Errorf("letter %d is bad: read %v with an error", bad, got)
				}
			}
		}
	}
}

// A letter must hold one of the versions, if there are any.
func TestReplaySource_versions(t *testing.T) {
	given := storedLetters(t, richRecord("1"))[0]
	unknown := storedLetters(t, richRecord("1"))[0]
	delete(unknown.Metadata, funnel.MetadataDeadLetter)
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1")),
		fake.Through("split", fake.Each(fake.Split(2))), fake.Through("p", fake.Each(fake.Fail)), fake.Out(j)))
	unsplit := dead.Written[0]
	for _, tt := range []struct {
		letter   opencdc.Record
		versions []funnel.DeadLetterVersion
		want     string // in the error, or "" for none
	}{
		{given, nil, ""},
		{unsplit, nil, ""},
		{unknown, nil, ""},
		{given, []funnel.DeadLetterVersion{funnel.VersionAsRead, funnel.VersionAsGiven}, ""},
		{unsplit, []funnel.DeadLetterVersion{funnel.VersionBeforeSplit}, ""},
		{unknown, []funnel.DeadLetterVersion{funnel.VersionAsGiven, funnel.VersionUnknown}, ""},
		{given, []funnel.DeadLetterVersion{funnel.VersionAsRead}, "as the task was given it, not as it was read"},
		{unsplit, []funnel.DeadLetterVersion{funnel.VersionAsGiven, funnel.VersionAsRead}, "before it was split, not as the task was given it or as it was read"},
		{unknown, []funnel.DeadLetterVersion{funnel.VersionAsGiven}, "in an unknown version, not as the task was given it"},
	} {
		source := funnel.NewReplaySource(funneltest.NewSource(tt.letter), tt.versions...)
		got, err := source.Read(t.Context())
		if tt.want != "" {
			fake.WantError(t, err, nil, tt.want, fmt.Sprintf("%q", string(tt.letter.Position)))
			fake.WantFatal(t, err, true)
		} else if len(got) != 1 || err != nil {
			t.Errorf("%v: %v, %v", tt.versions, got, err)
		}
	}
}

// A worker processes the letters before a refused one, and stops with the error of that one.
func TestReplaySource_stopsWorker(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		letters := storedLetters(t, richRecord("1"), richRecord("2"), richRecord("3"))
		letters[1].Metadata = nil
		j := &fake.Journal{}
		source := fake.NewSource(j, fake.Read{Records: letters, Err: io.EOF})
		first := fake.Chain(fake.From(funnel.NewReplaySource(source)), fake.Out(j))
		err := fake.RunWorker(t, fake.NewWorker(t, first, fake.DLQ(j), opts...))
		fake.WantError(t, err, nil, `"line 2"`, "no dead letter")
		fake.WantFatal(t, err, true)
		fake.WantTask(t, err, "source")
		j.Want(t, "out ack dlq", "out line 1", "ack line 1")
	})
}

// The processor that the documentation shows nacks letters that cannot be restored.
func TestReplaySource_nackInstead(t *testing.T) {
	letters := storedLetters(t, richRecord("1"), richRecord("2"), richRecord("3"))
	letters[1].Metadata[funnel.MetadataDeadLetter] = "broken"
	restore := funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
		letter, err := funnel.ParseDeadLetter(rec)
		if err != nil {
			return rec, err
		}
		letter.Record.Position = rec.Position
		return letter.Record, nil
	})
	j := &fake.Journal{}
	dead := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.NewSource(j, fake.Read{Records: letters})), fake.Through("restore", restore), fake.Out(j)))
	j.Want(t, "out dlq", "out line 1", "dlq line 2", "out line 3")
	if got := parse(t, throughJSON(t, dead.Written[0])); !reflect.DeepEqual(got.Record, letters[1]) {
		t.Errorf("the dead letter of the dead letter holds\n%#v, want\n%#v", got.Record, letters[1])
	}
}

// Errors and the end of the letters are passed on.
func TestReplaySource_passesOn(t *testing.T) {
	letters := storedLetters(t, richRecord("1"), richRecord("2"))
	j := &fake.Journal{}
	inner := fake.NewSource(j,
		fake.Read{Records: letters[:1], Err: fake.ErrTest}, fake.Read{}, fake.Read{Records: letters[1:], Err: io.EOF})
	inner.OnAck = func(context.Context, []opencdc.Position) error { return fake.ErrTest }
	source := funnel.NewReplaySource(inner)
	if got, err := source.Read(t.Context()); len(got) > 0 || err != fake.ErrTest {
		t.Errorf("an error: %v, %v", got, err)
	}
	if got, err := source.Read(t.Context()); len(got) > 0 || err != nil {
		t.Errorf("an empty read: %v, %v", got, err)
	}
	if got, err := source.Read(t.Context()); len(got) != 1 || string(got[0].Position) != "line 2" || err != io.EOF {
		t.Errorf("the end: %v, %v", got, err)
	}
	if err := source.Ack(t.Context(), []opencdc.Position{opencdc.Position("line 2")}); err != fake.ErrTest {
		t.Errorf("Ack: %v", err)
	}
	j.Want(t, "ack", "ack line 2")
}

// Mistakes are errors of NewWorker.
func TestNewReplaySource_invalid(t *testing.T) {
	if got := funnel.NewReplaySource(nil); got != nil {
		t.Errorf("without letters there is a %T", got)
	}
	if got := funnel.NewReplaySource((*fake.Source)(nil)); got != nil {
		t.Errorf("with nil letters there is a %T", got)
	}
	j := &fake.Journal{}
	for want, source := range map[string]funnel.Source{
		"DeadLetterVersion(7)":  funnel.NewReplaySource(fake.SourceOf(j), funnel.VersionAsGiven, 7),
		"DeadLetterVersion(-1)": funnel.NewReplaySource(fake.SourceOf(j), -1),
		"the read function":     funnel.NewReplaySource(funnel.SourceFunc(nil)),
	} {
		_, err := funnel.NewWorker(fake.Chain(fake.From(source), fake.Out(j)), nil, log.Nop(), nil)
		fake.WantError(t, err, nil, want, `task "source"`)
	}
}

// A replay of a replay would find no dead letters, so it does not open.
func TestReplaySource_twice(t *testing.T) {
	records := []opencdc.Record{richRecord("1")}
	letters := &funneltest.Source{Batches: [][]opencdc.Record{storedLetters(t, records...)}}
	once := funnel.NewReplaySource(letters)
	for _, twice := range []funnel.Source{
		funnel.NewReplaySource(once),
		funnel.NewReplaySource(funnel.NewBatchingSource(once, funnel.BatchPolicy{Records: 2})),
		funnel.NewReplaySource(position.Track("replay", position.NewMemory(), func(opencdc.Position) (funnel.Source, error) { return once, nil })),
	} {
		for range 2 { // it is closed again
			err := twice.Open(t.Context())
			if err == nil || !funnel.IsFatalError(err) || !strings.Contains(err.Error(), "a replay source itself") {
				t.Errorf("got the error %v", err)
			}
		}
		fake.WantNoError(t, once.Open(t.Context()))
		recs, err := once.Read(t.Context())
		fake.WantNoError(t, err)
		if len(recs) != 1 || !reflect.DeepEqual(recs[0].Payload, records[0].Payload) {
			t.Errorf("got %v", recs)
		}
		fake.WantNoError(t, once.Teardown(t.Context()))
	}
}

// The source keeps its contract.
func TestReplaySource_conformance(t *testing.T) {
	records := make([]opencdc.Record, 20)
	for i := range records {
		records[i] = richRecord(fmt.Sprint(i))
	}
	letters := storedLetters(t, records...)
	funneltest.TestSource(t, funneltest.SourceConformance{
		New:           func(testing.TB) funnel.Source { return funnel.NewReplaySource(funnel.SliceSource(letters...)) },
		AckDuringRead: true,
	})
}

// An inner source that wants the outcomes of its records gets them.
func TestReplaySource_outcomes(t *testing.T) {
	letters := storedLetters(t, richRecord("1"), richRecord("2"))
	source := funnel.NewChannelSource(nil)
	var outcomes []string
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer close(done)
		for _, letter := range letters {
			outcome, err := source.Send(ctx, letter)
			outcomes = append(outcomes, strings.TrimSpace(fmt.Sprint(outcome, " ", err)))
		}
		source.Close()
	}()
	j := &fake.Journal{}
	filter := fake.ByPosition(fake.Answers{"line 2": func(opencdc.Record) sdk.ProcessedRecord { return sdk.FilterRecord{} }})
	fake.WantNoError(t, fake.Run(t, nil, fake.From(funnel.NewReplaySource(source)), fake.Through("p", filter), fake.Out(j)))
	cancel() // everything was sent, unless the run has failed
	<-done
	if !slices.Equal(outcomes, []string{"delivered <nil>", "filtered <nil>"}) {
		t.Errorf("the outcomes are %q", outcomes)
	}
}
