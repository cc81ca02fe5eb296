package file_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

var (
	firstSeed  = flag.Uint64("seed", 1, "the seed of the first world, 0 to take one from the clock")
	worldCount = flag.Int("worlds", 0, "the number of worlds, 0 for some hundreds or, with -short, some dozens")
)

const (
	fingerprint = 1024 // bytes from which on a file is known by its content alone
	settle      = 10 * time.Second
)

// TestWorld rotates a log in random ways, beside a source that reads it, is stopped, and
// begins again after the last acked record. Whatever happens:
//
//   - intact: a record is a line as it was written.
//   - complete: no line is missing, except those that were truncated away without a copy
//     before they were acked.
//   - once: no acked line is read again by a source that follows the log. Another source may
//     read a finished file again of which it has read less than a fingerprint.
//   - ordered: the lines of a file come in order, and those of a renamed file before those of
//     its successor.
//   - counted: the bytes that have vanished are those that were truncated away unread, and
//     only they, and only then it is logged.
//   - open: Open fails only if lines were truncated away that were read in part.
func TestWorld(t *testing.T) {
	seed, worlds := *firstSeed, *worldCount
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if worlds == 0 {
		worlds = 200
		if testing.Short() {
			worlds = 40
		}
	}
	counts := make(map[string]int)
	failed := 0
	for i := range uint64(worlds) {
		isGood := t.Run(fmt.Sprint("seed=", seed+i), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed+i, dir, counts).run() })
		})
		if !isGood {
			failed++
		}
		if failed == 5 {
			t.Fatal("too many worlds failed, the rest was not tried")
		}
	}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%8d %s", counts[what], what)
	}
}

// world is a log, and a source that reads it.
type world struct {
	t          *testing.T
	rng        *rand.Rand
	log        *rotatedLog
	isFollowed bool
	history    []string
	counts     map[string]int

	f         *follower // nil while the source is not open
	unacked   []opencdc.Record
	acked     opencdc.Position
	isAcked   map[int]bool
	isRead    map[int]bool
	rotations int // when the source was opened

	// Since the source was opened:
	lastOf    map[int]int  // the last line that was read of a piece
	isFirst   map[int]bool // pieces that were read under the name of the log
	isRemoved bool         // the log was truncated, and it is not known whether that was counted

	vanished   int64 // bytes in the figures of sources that were closed
	mayVanish  int64 // bytes that were truncated away unacked
	ackedPiece int   // of the log, that the last acked line belongs to
}

func newWorld(t *testing.T, seed uint64, dir string, counts map[string]int) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		t: t, rng: rng, isFollowed: rng.IntN(3) > 0, counts: counts,
		isAcked: make(map[int]bool), isRead: make(map[int]bool),
	}
	w.log = &rotatedLog{
		logKind: drawLogKind(rng, w.isFollowed),
		t:       t, rng: rng, dir: dir, look: w.read, did: w.did,
		lastOf: make(map[int]int),
	}
	return w
}

// did records what was done.
func (w *world) did(format string, args ...any) {
	w.history = append(w.history, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// fail ends the world. The name is that of the invariant that does not hold.
func (w *world) fail(invariant, format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s: %s", invariant, fmt.Sprintf(format, args...))
}

// run lets the world go on for some steps, and then until all is read.
func (w *world) run() {
	defer w.report()
	w.log.begin()
	w.open()
	for range 50 {
		w.step()
	}
	for range 4 {
		w.open()
		for range 12 {
			w.read()
		}
		w.close()
	}
	must(w.t, w.log.file.Close())
	for n, line := range w.log.lines {
		switch {
		case line.isRemoved && !w.isRead[n]:
			w.counts["lines vanished"]++
		case !w.isRead[n]:
			w.fail("complete", "line %d is missing", n)
		}
	}
	if w.isFollowed && w.vanished > w.mayVanish {
		w.fail("counted", "%d bytes vanished, and only %d could", w.vanished, w.mayVanish)
	}
	w.counts["lines"] += len(w.log.lines)
	w.counts["rotations"] += w.log.rotations
	w.counts["bytes vanished"] += int(w.vanished)
}

func (w *world) report() {
	if !w.t.Failed() {
		return
	}
	k := w.log.logKind
	w.t.Logf("%v, header of %d bytes, rotated by %v, followed %v, dated %v, compressed %v:\n%s",
		k.format, len(k.header), k.rotation, w.isFollowed, k.isDated, k.isGzip, strings.Join(w.history, "\n"))
	if w.f != nil {
		w.t.Logf("log:\n%s", w.f.log.String())
		_ = w.f.s.Teardown(context.Background())
	}
	names, _ := filepath.Glob(w.log.path("*"))
	for _, name := range names {
		b, _ := os.ReadFile(name)
		w.t.Logf("%s: %d bytes, %.60q", filepath.Base(name), len(b), b[min(len(b), len(k.header)):])
	}
}

func (w *world) step() {
	switch n := w.rng.IntN(24); {
	case n < 8:
		w.log.write()
	case n < 12 && w.log.rotation == byRemoval:
		w.remove()
	case n < 12:
		w.log.rotate()
	case n < 14:
		w.close()
	case n < 16:
		w.open()
	case n < 18:
		time.Sleep(time.Duration(w.rng.IntN(15)) * time.Second)
	default:
		w.read()
	}
}

// open opens the source, or a new one that begins after the last acked record.
func (w *world) open() {
	if w.f != nil {
		return
	}
	w.did("open")
	ctx := context.Background()
	w.f = &follower{t: w.t}
	w.f.s = w.newSource()
	err := w.f.s.Open(ctx)
	isRemoved := w.log.rotation == byRemoval && w.ackedPiece != w.log.piece
	if err != nil && isRemoved && strings.Contains(err.Error(), fmt.Sprintf("file %q, offset ", w.log.path("log"))) {
		w.did("%v", err)
		w.counts["openings that failed"]++
		w.f.s = w.newSource(file.WithStartAnew())
		err = w.f.s.Open(ctx)
	}
	if err != nil {
		w.fail("open", "%v", err)
	}
	w.rotations, w.isRemoved = w.log.rotations, false
	w.lastOf, w.isFirst = make(map[int]int), make(map[int]bool)
}

func (w *world) newSource(opts ...file.SourceOption) *file.Source {
	opts = append(opts, file.WithBatch(1+w.rng.IntN(5), 1<<10), w.f.logger())
	if w.isFollowed {
		opts = append(opts, file.WithFollow(), file.WithoutNotifications(), file.WithSettlePeriod(settle))
	}
	return newSource(w.t, w.log.path("log*"), w.log.format, w.acked, opts...)
}

func (w *world) close() {
	if w.f == nil {
		return
	}
	w.did("close")
	w.vanished += w.f.s.Stats().BytesVanished
	w.f.close()
	if w.isFollowed && w.log.rotation != byRemoval && w.f.log.Len() > 0 {
		w.fail("counted", "nothing was truncated away, but this was logged: %s", w.f.log.String())
	}
	w.f, w.unacked = nil, nil
}

// read reads for a while, or some batches, and acks some of what was read.
func (w *world) read() {
	if w.f == nil {
		return
	}
	var recs []opencdc.Record
	var err error
	if w.isFollowed && w.rng.IntN(3) > 0 {
		recs, err = w.f.poll(time.Duration(1+w.rng.IntN(3)) * time.Second)
	} else {
		recs, err = w.readBatches(1 + w.rng.IntN(20))
	}
	w.take(recs)
	if n := w.rng.IntN(len(w.unacked) + 1); n > 0 {
		w.ack(n)
	}
	if err == nil {
		return
	}
	// A source that does not follow its files ends when one is rotated while it reads.
	if w.isFollowed || w.log.rotations == w.rotations || !strings.Contains(err.Error(), "truncated or replaced") {
		w.t.Fatal(err)
	}
	w.did("%v", err)
	w.counts["reads that failed"]++
	w.close()
}

// take checks records that were read, and keeps them until they are acked.
func (w *world) take(recs []opencdc.Record) {
	for _, rec := range recs {
		w.check(rec)
	}
	w.unacked = append(w.unacked, recs...)
	w.did("read %d, %d unacked", len(recs), len(w.unacked))
}

func (w *world) readBatches(n int) (all []opencdc.Record, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for range n {
		recs, err := w.f.s.Read(ctx)
		all = append(all, recs...)
		switch {
		case err == io.EOF, errors.Is(err, context.DeadlineExceeded):
			return all, nil
		case err != nil:
			return all, err
		}
	}
	return all, nil
}

func (w *world) ack(n int) {
	var positions []opencdc.Position
	for _, rec := range w.unacked[:n] {
		if n, ok := w.number(rec); ok {
			w.isAcked[n], w.ackedPiece = true, w.log.lines[n].piece
		}
		positions = append(positions, rec.Position)
	}
	w.acked = positions[n-1]
	w.unacked = w.unacked[n:]
	must(w.t, w.f.s.Ack(context.Background(), positions))
	w.did("acked %d", n)
}

// number returns the number of a record, unless it is part of the header.
func (w *world) number(rec opencdc.Record) (n int, isLine bool) {
	text := w.text(rec)
	if strings.HasPrefix(text, "#") {
		return 0, false
	}
	first, _, _ := strings.Cut(text, ",")
	n, err := strconv.Atoi(first)
	if err != nil || n >= len(w.log.lines) || w.log.lines[n].text != text {
		w.fail("intact", "%q is no line: %v", text, rec.Metadata)
	}
	return n, true
}

func (w *world) text(rec opencdc.Record) string {
	if row, ok := rec.Payload.After.(opencdc.StructuredData); ok {
		return fmt.Sprintf("%v,%v", row["n"], row["x"])
	}
	return string(rec.Payload.After.Bytes())
}

// check checks a record that was read.
func (w *world) check(rec opencdc.Record) {
	n, isLine := w.number(rec)
	if !isLine {
		return
	}
	line, path := w.log.lines[n], rec.Metadata[file.MetadataPath]
	if w.isAcked[n] {
		if w.isFollowed || line.end >= fingerprint {
			w.fail("once", "line %d was acked and is read again from %s", n, path)
		}
		w.counts["lines repeated"]++
	}
	if last, ok := w.lastOf[line.piece]; ok && n <= last {
		w.fail("ordered", "line %d is read after line %d of the same file", n, last)
	}
	for piece := range w.isFirst {
		isOlder := line.piece < piece && w.isFirst[line.piece] && n <= w.log.lastOf[line.piece]
		if isOlder && w.isFollowed && w.log.rotation == byRename {
			w.fail("ordered", "line %d is read after its successor was begun", n)
		}
	}
	w.lastOf[line.piece] = n
	if line.piece == w.log.piece && path == w.log.path("log") {
		w.isFirst[line.piece] = true
	}
	w.isRead[n] = true
}

// remove truncates the log, of which there is no copy.
func (w *world) remove() {
	size := w.log.size
	unacked := size
	for n := range w.log.lines {
		line := &w.log.lines[n]
		switch {
		case line.piece != w.log.piece:
		case w.isAcked[n]:
			unacked = size - line.end
		default:
			line.isRemoved = true
		}
	}
	w.mayVanish += unacked
	w.did("truncate, %d bytes are not acked, %d not read", unacked, w.unread(w.log.piece, size))
	if w.isRemoved = w.isRemoved || w.f == nil || w.rng.IntN(2) == 0; w.isRemoved {
		w.log.truncate()
		w.log.append(w.log.header)
		return
	}
	before := w.f.s.Stats()
	must(w.t, w.log.file.Truncate(0))
	w.log.changed("log")
	w.log.size = 0
	w.log.piece++
	for range 8 {
		recs, err := w.f.poll(2 * time.Second) // some may have been in memory
		must(w.t, err)
		w.take(recs)
	}
	after := w.f.s.Stats()
	known := before.BytesKnown - after.BytesRead // of what was not read
	if _, ok := w.lastOf[w.log.piece-1]; !ok {
		known = 0 // nothing of the file was read, so it was merely empty again
	}
	if got := after.BytesVanished - before.BytesVanished; got < known || got > w.unread(w.log.piece-1, size) {
		w.fail("counted", "%d bytes vanished, want %d to %d", got, known, w.unread(w.log.piece-1, size))
	}
	w.counts["truncations that were counted"]++
	w.log.append(w.log.header)
}

// unread returns how many bytes of a piece with the given size were not read.
func (w *world) unread(piece int, size int64) int64 {
	if n, ok := w.lastOf[piece]; ok {
		return size - w.log.lines[n].end
	}
	return size
}
