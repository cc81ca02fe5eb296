package file_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/clock"
	"github.com/conduitio/funnel/internal/disk/disktest"
	"github.com/conduitio/funnel/internal/positionfs"
	"github.com/conduitio/funnel/position"
)

// pipelineSetup is a kind of pipeline to crash.
type pipelineSetup struct {
	name    string
	batch   int
	ahead   int // records read ahead, 0 for none
	options []funnel.WorkerOption
	track   []position.TrackOption
	outputs []file.DestinationOption
	now     func() time.Time
}

func pipelineSetups() []pipelineSetup {
	rotation := file.WithRotation(file.Rotation{Bytes: 1500, Age: time.Hour})
	return []pipelineSetup{
		{name: "plain", batch: 4},
		{name: "whole batches", batch: 5, ahead: 3, options: []funnel.WorkerOption{funnel.WithWholeBatches(), funnel.WithReadAhead(3)}},
		{name: "rotation", batch: 4, outputs: []file.DestinationOption{rotation}, now: jumpingClock()},
		{name: "coalesced", batch: 3, track: []position.TrackOption{position.WithCoalescing(5, time.Millisecond)}},
	}
}

// A pipelineRecord is what becomes of a record of the pipeline.
type pipelineRecord struct {
	id, pieces       int
	text             string
	filtered, refuse bool // before it is split
	bad              bool // it is refused on the way to b only
}

// jumpingClock returns a clock that is set forward and back all the time.
func jumpingClock() func() time.Time {
	var calls atomic.Int64
	return func() time.Time {
		n := calls.Add(1)
		return time.Now().Add(time.Duration(n*n%11-5) * 20 * time.Minute)
	}
}

const pipelineRecords = 16

func newPipelineRecord(id int) pipelineRecord {
	r := pipelineRecord{id: id, pieces: 1, text: strings.Repeat(string(rune('a'+id)), 1+id*37%300)}
	switch {
	case id%9 == 4:
		r.filtered = true
	case id%7 == 3:
		r.refuse = true
	case id%5 == 2:
		r.bad = true
	case id%4 == 1:
		r.pieces = 2
	}
	return r
}

// line returns a piece as it stands in an output.
func (r pipelineRecord) line(piece int) string {
	return fmt.Sprintf(`{"id":%d,"piece":%d,"text":"%s"}`, r.id, piece, r.text)
}

// wantLines returns what an output has of the records from the first one on.
func wantLines(output string, first int) (want []string) {
	for id := first; id < pipelineRecords; id++ {
		r := newPipelineRecord(id)
		isLetter := r.refuse || r.bad
		switch {
		case r.filtered:
		case output == "queue" && isLetter:
			want = append(want, r.line(0))
		case output == "queue" || r.refuse || r.bad && output == "b":
		default:
			for piece := range r.pieces {
				want = append(want, r.line(piece))
			}
		}
	}
	return want
}

// savedNote is the note that the position of a number of records was saved.
type savedNote int

// notedSource notes what its inner source is acked for, which Track has saved before. Each
// record must be acked once, in order.
type notedSource struct {
	funnel.Source
	fsys  *disktest.FS
	acked int64
}

func newNotedSource(s funnel.Source, from opencdc.Position, fsys *disktest.FS) (*notedSource, error) {
	n := &notedSource{Source: s, fsys: fsys}
	if from == nil {
		return n, nil
	}
	progress, err := file.ParsePosition(from)
	n.acked = int64(progress.Records)
	return n, err
}

func (s *notedSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	for _, p := range positions {
		progress, err := file.ParsePosition(p)
		if s.acked++; err != nil || int64(progress.Records) != s.acked {
			return errors.Join(err, fmt.Errorf("record %d was acked, want %d", progress.Records, s.acked))
		}
	}
	s.fsys.Note(savedNote(s.acked))
	return s.Source.Ack(ctx, positions)
}

// pipelineLife is a pipeline over a recorded file system: its outputs, its queue and its
// positions.
type pipelineLife struct {
	t     *testing.T
	setup pipelineSetup
	in    string // the input, on another disk
	dir   string
	fsys  *disktest.FS
}

func (l *pipelineLife) path(name string) string { return filepath.Join(l.dir, "out", name) }

func (l *pipelineLife) store() (*position.Files, error) {
	return position.NewFiles(filepath.Join(l.dir, "positions"), positionfs.With(l.fsys))
}

// heldStore keeps the claims, so that what the end of a process does to them can be done.
type heldStore struct {
	position.Store
	claims []position.Claim
}

func (s *heldStore) Claim(ctx context.Context, id string) (position.Claim, error) {
	claim, err := s.Store.Claim(ctx, id)
	if err == nil {
		s.claims = append(s.claims, claim)
	}
	return claim, err
}

func (s *heldStore) end() {
	for _, claim := range s.claims {
		_ = claim.Release(context.Background())
	}
}

// run runs the pipeline to its end, as a process of its own would.
func (l *pipelineLife) run() error {
	files, err := l.store()
	if err != nil {
		return err
	}
	store := &heldStore{Store: files}
	defer store.end()
	source := position.Track("source", store, func(from opencdc.Position) (funnel.Source, error) {
		s, err := file.NewSource(l.in, file.JSONLines, from, file.WithBatch(l.setup.batch, 1<<20))
		if err != nil {
			return nil, err
		}
		return newNotedSource(s, from, l.fsys)
	}, l.setup.track...)
	destination := func(name string, format file.Format) funnel.Destination {
		return newDestination(l.t, l.path(name), format, append(slices.Clone(l.setup.outputs), file.WithDisk(l.fsys))...)
	}
	of := func(r opencdc.Record) pipelineRecord {
		return newPipelineRecord(int(r.Payload.After.(opencdc.StructuredData)["id"].(int64)))
	}
	errRefused := errors.New("refused")
	check := func(_ context.Context, r opencdc.Record) sdk.ProcessedRecord {
		switch {
		case of(r).filtered:
			return sdk.FilterRecord{}
		case of(r).refuse:
			return sdk.ErrorRecord{Error: errRefused}
		}
		return sdk.SingleRecord(r)
	}
	split := func(r opencdc.Record) ([]opencdc.Record, error) {
		pieces := make([]opencdc.Record, of(r).pieces)
		for i := range pieces {
			pieces[i] = r.Clone()
			pieces[i].Payload.After.(opencdc.StructuredData)["piece"] = i
		}
		return pieces, nil
	}
	checkB := func(_ context.Context, r opencdc.Record) sdk.ProcessedRecord {
		if of(r).bad {
			return sdk.ErrorRecord{Error: errRefused}
		}
		return sdk.SingleRecord(r)
	}
	ctx := context.Background()
	if l.setup.now != nil {
		ctx = clock.With(ctx, l.setup.now)
	}
	return funnel.From("source", source).
		Through("check", funnel.ProcessorFunc(check)).
		Through("split", funnel.Split(split)).
		Fork(
			funnel.To("a", destination("a.jsonl", file.JSONLines)),
			funnel.Through("check b", funnel.ProcessorFunc(checkB)).To("b", destination("b.jsonl", file.JSONLines)),
		).
		DeadLetters("queue", destination("queue.jsonl", file.Records), 0, 0).
		Options(l.setup.options...).
		Run(ctx)
}

// saved returns the number of records whose position is saved.
func (l *pipelineLife) saved() int {
	l.t.Helper()
	store, err := l.store()
	if err != nil {
		l.t.Fatal(err)
	}
	ctx := context.Background()
	claim, err := store.Claim(ctx, "source")
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := claim.Load(ctx)
	if err = errors.Join(err, claim.Release(ctx)); err != nil {
		l.t.Fatal(err)
	}
	if p == nil {
		return 0
	}
	progress, err := file.ParsePosition(p)
	if err != nil {
		l.t.Fatal(err)
	}
	return int(progress.Records)
}

// lines returns the lines of an output, with those of its rotated files first.
func (l *pipelineLife) lines(output string) (all []string, err error) {
	paths, err := filepath.Glob(l.path(output + ".*jsonl")) // sorts .000001.jsonl before .jsonl
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		for line := range strings.Lines(content(path)) {
			text, isWhole := strings.CutSuffix(line, "\n")
			if !isWhole {
				return all, fmt.Errorf("the last line of %s is torn: %q", path, line)
			}
			if output == "queue" {
				if text, err = letterLine(text); err != nil {
					return all, fmt.Errorf("%s: %w: %q", path, err, line)
				}
			}
			all = append(all, text)
		}
	}
	return all, nil
}

// letterLine returns what is in a dead letter as a line of an output.
func letterLine(text string) (string, error) {
	var record opencdc.Record
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		return "", err
	}
	letter, err := funnel.ParseDeadLetter(record)
	if err != nil {
		return "", err
	}
	data, ok := letter.Record.Payload.After.(opencdc.StructuredData)
	if !ok {
		return "", fmt.Errorf("the payload is a %T", letter.Record.Payload.After)
	}
	if data["piece"] == nil {
		data["piece"] = 0
	}
	line, err := new(file.JSONEncoder).AppendData(nil, data)
	return string(line), err
}

// goOn runs the pipeline on what a crash has left to its end, and checks all that is there.
func (l *pipelineLife) goOn(dir string, notes []any, when string) *pipelineLife {
	l.t.Helper()
	next := &pipelineLife{l.t, l.setup, l.in, dir, disktest.New(l.t, dir)}
	promised := 0
	for _, note := range notes {
		next.fsys.Note(note)
		promised = int(note.(savedNote))
	}
	saved := next.saved()
	if saved < promised {
		l.t.Errorf("%s: the position is behind %d records, and the source was acked for %d", when, saved, promised)
	}
	if err := next.run(); err != nil {
		l.t.Errorf("%s: %v", when, err)
	}
	if n := next.saved(); n != pipelineRecords {
		l.t.Errorf("%s: at the end, the position is behind %d records, want %d", when, n, pipelineRecords)
	}
	for _, output := range []string{"a", "b", "queue"} {
		if err := next.check(output, saved); err != nil {
			l.t.Errorf("%s: the position was behind %d records: %s: %v", when, saved, output, err)
		}
	}
	return next
}

// check checks an output. Its last run has begun behind the first records.
func (l *pipelineLife) check(output string, first int) error {
	lines, err := l.lines(output)
	if err != nil {
		return err
	}
	last := wantLines(output, first)
	n := len(lines) - len(last)
	if n < 0 || !slices.Equal(lines[n:], last) {
		return fmt.Errorf("the last run has written %q, want %q", lines[max(n, 0):], last)
	}
	var before []string // without repeats
	seen := make(map[string]bool)
	for _, line := range lines[:n] {
		if !seen[line] {
			before = append(before, line)
		}
		seen[line] = true
	}
	all := wantLines(output, 0)
	if least := len(all) - len(last); len(before) < least || !slices.Equal(before, all[:len(before)]) {
		return fmt.Errorf("there were %q before the last run, want the first %d or more of %q", before, least, all)
	}
	inFlight := wantLines(output, min(first+l.setup.batch+l.setup.ahead, pipelineRecords))
	if most := len(all) - len(inFlight); len(l.setup.track) == 0 && len(before) > most {
		return fmt.Errorf("there were %q before the last run, which repeats more than the batch in flight", before)
	}
	return nil
}

// fail lets some calls of the next run fail.
func (l *pipelineLife) fail(random *rand.Rand) {
	left, faults := random.IntN(100), 1+random.IntN(3)
	l.fsys.SetHook(func(c disktest.Call) error {
		if left--; left >= 0 || faults == 0 || c.Kind == disktest.Close {
			return nil
		}
		faults--
		switch random.IntN(3) {
		case 0:
			return errFault
		case 1:
			return disktest.Anyway(errFault)
		default:
			return disktest.Partly(int(c.Length/2), errFault)
		}
	})
}

// After any crash of the machine, a pipeline that is started again loses nothing, damages
// nothing, keeps the order, and repeats no more than what was in flight. Its outputs, its
// queue and its positions are on the disk that has crashed.
func TestPipeline_crashes(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in.jsonl")
	var input strings.Builder
	for id := range pipelineRecords {
		fmt.Fprintf(&input, `{"id":%d,"text":"%s"}`+"\n", id, newPipelineRecord(id).text)
	}
	if err := os.WriteFile(in, []byte(input.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, setup := range pipelineSetups() {
		t.Run(setup.name, func(t *testing.T) {
			t.Parallel()
			states := 0
			for seed := range uint64(2) {
				dir := t.TempDir()
				l := &pipelineLife{t, setup, in, dir, disktest.New(t, dir)}
				states += l.crash(rand.New(rand.NewPCG(seed, uint64(i))), int(seed))
			}
			if states < 100 && !t.Failed() {
				t.Errorf("there are only %d states", states)
			}
		})
	}
}

// crash runs the pipeline, with faults in the first runs, and checks each state that a crash
// can leave. It returns their number.
func (l *pipelineLife) crash(random *rand.Rand, faults int) (states int) {
	for range faults {
		l.fail(random)
		if err := l.run(); err != nil && !errors.Is(err, errFault) {
			l.t.Fatal(err)
		}
	}
	l.fsys.SetHook(nil)
	if err := l.run(); err != nil {
		l.t.Fatal(err)
	}
	for c := range l.fsys.Crashes(l.t, disktest.Sample{States: 3, Seed: random.Uint64()}) {
		states++
		second := l.goOn(c.Dir, c.Notes, c.String())
		if random.IntN(40) == 0 { // the machine crashes again
			for again := range second.fsys.Crashes(l.t, disktest.Sample{States: 3, Seed: random.Uint64()}) {
				states++
				second.goOn(again.Dir, again.Notes, c.String()+"\nand then "+again.String())
			}
		}
		if l.t.Failed() {
			break
		}
	}
	return states
}
