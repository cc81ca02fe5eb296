package file_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/disk/disktest"
)

// crashSetup is a kind of destination to crash.
type crashSetup struct {
	name   string
	path   string
	format file.Format
	opts   []file.DestinationOption
}

func crashSetups() []crashSetup {
	small := file.WithMaxAppend(2000)
	names := []file.DestinationOption{small, file.WithMaxOpenFiles(1)}
	rotation := file.WithRotation(file.Rotation{Bytes: 2500})
	return []crashSetup{
		{"lines", "d/out.x", file.Lines, []file.DestinationOption{small}},
		{"csv", "out.x", file.CSV, []file.DestinationOption{small, file.WithColumns("id", "to", "text")}},
		{"names", "d/{{to}}/out.x", file.JSONLines, names},
		{"csv names", "{{to}}.x", file.CSV, append(names, file.WithColumns("id", "to", "text"))},
		{"rotation", "out.x", file.JSONLines, []file.DestinationOption{small, rotation}},
		{"rotation names", "{{to}}.x", file.Records, append(names, rotation)},
	}
}

// crashRecord returns record id, which goes to one of three files.
func crashRecord(id int, random *rand.Rand) opencdc.Record {
	size := []int{0, 10, 100, 600, 1500, 4000}[random.IntN(6)]
	text := strings.Repeat("a\"\n", size/3)
	return fields("id", id, "to", string(rune('a'+random.IntN(3))), "text", text)
}

// crashAck is the note that records were acked.
type crashAck []opencdc.Record

// life writes batches to a destination over fsys, of which some calls fail, and notes what
// was acked.
type life struct {
	t       *testing.T
	setup   crashSetup
	fsys    *disktest.FS
	d       *file.Destination
	random  *rand.Rand
	next    int
	written map[int]string // the text of each record, by its id
}

func newLife(t *testing.T, setup crashSetup, dir string, random *rand.Rand) *life {
	l := &life{t: t, setup: setup, fsys: disktest.New(t, dir), random: random, written: make(map[int]string)}
	l.d = newDestination(t, filepath.Join(dir, setup.path), setup.format, append(slices.Clone(setup.opts), file.WithDisk(l.fsys))...)
	return l
}

var errFault = errors.New("the disk is broken")

// fail lets a call fail, and perhaps some of those after it.
func (l *life) fail() {
	left, faults := l.random.IntN(15), 1+l.random.IntN(3)*l.random.IntN(3)
	full := disktest.Full(int64(l.random.IntN(3000)))
	isFull := l.random.IntN(4) == 0
	l.fsys.SetHook(func(c disktest.Call) error {
		if isFull {
			return full(c)
		}
		if left--; left >= 0 || faults == 0 || c.Kind == disktest.Close {
			return nil
		}
		faults--
		switch {
		case c.Kind == disktest.Write && left%2 == 0:
			return disktest.Partly(int(c.Length/2), errFault)
		case left%3 == 0:
			return disktest.Anyway(errFault)
		default:
			return errFault
		}
	})
}

func (l *life) isFault(err error) bool {
	return errors.Is(err, errFault) || errors.Is(err, syscall.ENOSPC)
}

// open opens the destination, in spite of faults.
func (l *life) open() {
	for range 10 {
		err := l.d.Open(context.Background())
		if err == nil {
			return
		}
		if !l.isFault(err) {
			l.t.Fatal(err)
		}
		l.fsys.SetHook(nil)
	}
	l.t.Fatal("the destination does not open")
}

// write writes a batch, and notes the acks.
func (l *life) write() {
	var recs []opencdc.Record
	for range 1 + l.random.IntN(5) {
		rec := crashRecord(l.next, l.random)
		l.written[l.next] = rec.Payload.After.(opencdc.StructuredData)["text"].(string)
		recs, l.next = append(recs, rec), l.next+1
	}
	if err := l.d.Write(context.Background(), recs); err != nil {
		if !l.isFault(err) {
			l.t.Fatal(err)
		}
		l.fsys.SetHook(nil)
		if l.random.IntN(2) == 0 {
			l.fail()
		}
		l.open()
		return
	}
	acks, err := l.d.Ack(context.Background())
	if err != nil || len(acks) != len(recs) {
		l.t.Fatalf("%d acks, %v", len(acks), err)
	}
	for _, ack := range acks {
		if ack.Error != nil {
			l.t.Fatal(ack.Error)
		}
	}
	l.fsys.Note(crashAck(recs))
}

func (l *life) tearDown() {
	if err := l.d.Teardown(context.Background()); err != nil && !l.isFault(err) {
		l.t.Fatal(err)
	}
}

// stored returns the ids in each file below a directory, in order, with those of its
// rotated files first. It fails the test if a record is damaged.
func (l *life) stored(dir, when string) map[string][]int {
	l.t.Helper()
	all := make(map[string][]int)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		name, _, _ = strings.Cut(name, ".")
		ids, err := l.ids(path)
		if err != nil {
			l.t.Errorf("%s: %s is damaged: %v", when, path, err)
		}
		for _, id := range ids {
			if slices.Contains(all[name], id) {
				l.t.Errorf("%s: record %d is in %s twice", when, id, path)
			}
		}
		all[name] = append(all[name], ids...)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

func (l *life) ids(path string) (ids []int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	add := func(id int, text string) {
		if want, ok := l.written[id]; !ok || text != want {
			err = errors.Join(err, fmt.Errorf("record %d is not what was written", id))
		}
		ids = append(ids, id)
	}
	if l.setup.format == file.CSV {
		rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
		for i, row := range rows {
			if i == 0 {
				if row[0] != "id" {
					return nil, fmt.Errorf("the header is %v", row)
				}
				continue
			}
			id, _ := strconv.Atoi(row[0])
			add(id, row[2])
		}
		return ids, err
	}
	for line := range strings.Lines(string(text)) {
		type value struct {
			ID   int
			Text string
		}
		var whole struct {
			value
			Payload struct{ After value }
		}
		if !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("the last line is torn: %.100q", line)
		}
		if err := json.Unmarshal([]byte(line), &whole); err != nil {
			return nil, fmt.Errorf("%w: %.100q", err, line)
		}
		v := whole.value
		if l.setup.format == file.Records {
			v = whole.Payload.After
		}
		add(v.ID, v.Text)
	}
	return ids, err
}

// check fails the test unless all acked records are below the directory, once and in
// order.
func (l *life) check(dir string, notes []any, when string) {
	l.t.Helper()
	acked := make(map[string][]int)
	isAcked := make(map[int]bool)
	for _, note := range notes {
		for _, rec := range note.(crashAck) {
			after := rec.Payload.After.(opencdc.StructuredData)
			name, _, _ := strings.Cut(strings.ReplaceAll(l.setup.path, "{{to}}", after["to"].(string)), ".")
			acked[name] = append(acked[name], after["id"].(int))
			isAcked[after["id"].(int)] = true
		}
	}
	stored := l.stored(dir, when)
	for name, want := range acked {
		got := slices.DeleteFunc(stored[name], func(id int) bool { return !isAcked[id] })
		if !slices.Equal(got, want) {
			l.t.Errorf("%s: of %s, the records %v were acked, and %v are there", when, name, want, got)
		}
	}
}

// After any crash of the machine, all acked records are there, and the files are whole
// once they are opened again.
func TestDestination_crashes(t *testing.T) {
	for i, setup := range crashSetups() {
		t.Run(setup.name, func(t *testing.T) {
			t.Parallel()
			states := 0
			for seed := range uint64(4) {
				states += crash(t, setup, rand.New(rand.NewPCG(seed, uint64(i))))
			}
			if states < 100 && !t.Failed() {
				t.Errorf("there are only %d states", states)
			}
		})
	}
}

// crash returns how many states it has checked.
func crash(t *testing.T, setup crashSetup, random *rand.Rand) (states int) {
	l := newLife(t, setup, t.TempDir(), random)
	l.open()
	for range 6 {
		if random.IntN(3) == 0 {
			l.fail()
		}
		l.write()
		if random.IntN(4) == 0 {
			l.tearDown()
			l.open()
		}
	}
	l.fsys.SetHook(nil)
	l.tearDown()
	for c := range l.fsys.Crashes(t, disktest.Sample{States: 6, Seed: random.Uint64()}) {
		states++
		second := l.goOn(c.Dir, c.Notes, c.String())
		if random.IntN(40) == 0 { // the machine crashes again
			for again := range second.fsys.Crashes(t, disktest.Sample{States: 3, Seed: random.Uint64()}) {
				second.goOn(again.Dir, again.Notes, c.String()+"\nand then "+again.String())
			}
		}
		if t.Failed() {
			return states
		}
	}
	return states
}

// goOn opens a destination over what a crash has left, writes to each of the files, so that
// they are repaired, and checks them. notes were made before the crash.
func (l *life) goOn(dir string, notes []any, when string) *life {
	l.t.Helper()
	next := newLife(l.t, l.setup, dir, l.random)
	next.next, next.written = l.next, l.written
	for _, note := range notes {
		next.fsys.Note(note)
	}
	next.open()
	for _, to := range []string{"a", "b", "c"} {
		rec := crashRecord(next.next, l.random)
		after := rec.Payload.After.(opencdc.StructuredData)
		after["to"] = to
		l.written[next.next] = after["text"].(string)
		next.next++
		mustWrite(l.t, next.d, rec)
		next.fsys.Note(crashAck{rec})
	}
	next.tearDown()
	notes = nil
	for _, c := range next.fsys.Calls() {
		if c.Kind == disktest.Note {
			notes = append(notes, c.Note)
		}
	}
	next.check(dir, notes, when)
	return next
}
