package file_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/funnel/connector/file"
)

// logKind says how a log is written and rotated.
type logKind struct {
	format   file.Format
	header   string // of each file
	rotation rotation
	isDated  bool // rotated files are log-00000001, log-00000002 …, otherwise log.1 is the last one
	isGzip   bool // rotated files are compressed
	isCut    bool // one look may see a part of a line, a copy or a compressed file
}

// rotation is what happens to a log.
type rotation int

const (
	byRename  rotation = iota // the writer begins a new file
	byCopy                    // a copy is made, and the log is truncated
	byEither                  // one or the other
	byRemoval                 // the log is truncated, and the source has no copy
)

func (r rotation) String() string {
	return [...]string{"rename", "copy", "rename or copy", "removal"}[r]
}

func drawLogKind(rng *rand.Rand, isFollowed bool) logKind {
	k := logKind{
		format:   file.Lines,
		rotation: rotation(rng.IntN(3)),
		isDated:  rng.IntN(2) == 0,
		isGzip:   rng.IntN(2) == 0,
		isCut:    isFollowed,
	}
	if isFollowed && rng.IntN(6) == 0 {
		k.rotation, k.isGzip = byRemoval, false
	}
	comment := "#," + strings.Repeat("h", 300) + "\n"
	switch rng.IntN(6) {
	case 0, 1:
		k.format, k.header = file.CSV, "n,x\n"
	case 2:
		k.format, k.header = file.CSV, "n,x,"+strings.Repeat("h", 1100)+"\n"
	case 3:
		k.header = comment
	case 4:
		k.header = strings.Repeat(comment, 5) // longer than a fingerprint
	}
	return k
}

// logLine is a record in a log. Its number is its index.
type logLine struct {
	text      string // what the source reads
	piece     int    // of the log: what was written to one file before it was rotated
	end       int64  // the offset behind it in that file
	isRemoved bool   // truncated away before it was acked
}

// rotatedLog is a log with its writer and its logrotate. Each change sets the time of the file
// to one that it has never had, so that every change can be seen.
type rotatedLog struct {
	logKind
	t    *testing.T
	rng  *rand.Rand
	dir  string
	look func() // lets the source read meanwhile
	did  func(format string, args ...any)

	lines     []logLine
	file      *os.File // that the writer has open
	name      string   // of this file
	size      int64    // of this file
	piece     int
	lastOf    map[int]int // the last line of a piece when it was rotated
	rotations int
	changes   int
}

func (l *rotatedLog) path(name string) string { return filepath.Join(l.dir, name) }

func (l *rotatedLog) chance(of int) bool { return l.rng.IntN(of) == 0 }

func (l *rotatedLog) mayLook(of int) {
	if l.chance(of) {
		l.look()
	}
}

// changed sets the time of a file that was changed.
func (l *rotatedLog) changed(name string) {
	l.changes++
	now := time.Now().Add(time.Duration(l.changes) * time.Microsecond)
	must(l.t, os.Chtimes(l.path(name), now, now))
}

func (l *rotatedLog) put(name, content string) {
	must(l.t, os.WriteFile(l.path(name), []byte(content), 0o600))
	l.changed(name)
}

func (l *rotatedLog) append(text string) {
	_, err := l.file.WriteString(text)
	must(l.t, err)
	l.changed(l.name)
	l.size += int64(len(text))
}

// begin lets the writer begin a file.
func (l *rotatedLog) begin() {
	var err error
	l.file, err = os.OpenFile(l.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(l.t, err)
	l.name, l.size = "log", 0
	l.piece++
	l.mayLook(4)
	l.append(l.header)
}

// write appends some lines, in one or two parts.
func (l *rotatedLog) write() {
	var text strings.Builder
	for range 1 + l.rng.IntN(5) {
		x := strings.Repeat("x", l.rng.IntN(2)*l.rng.IntN(500))
		line := logLine{text: fmt.Sprintf("%d,%s", len(l.lines), x), piece: l.piece}
		switch {
		case l.format == file.Lines:
			text.WriteString(line.text + "\n")
		case len(l.header) > fingerprint:
			text.WriteString(line.text + ",\n")
		case l.chance(3):
			line.text += "\n" + x
			fmt.Fprintf(&text, "%d,\"%s\n%s\"\n", len(l.lines), x, x)
		default:
			text.WriteString(line.text + "\n")
		}
		line.end = l.size + int64(text.Len())
		l.lines = append(l.lines, line)
	}
	cut := text.Len()
	if l.isCut {
		cut = l.rng.IntN(cut + 1)
	}
	l.did("write up to %d", len(l.lines)-1)
	l.append(text.String()[:cut])
	l.mayLook(2)
	l.append(text.String()[cut:])
}

// rotate rotates the log, and may compress the file that it or the last rotation has made.
func (l *rotatedLog) rotate() {
	if l.size == 0 {
		return
	}
	l.rotations++
	name := l.rotatedName(0)
	if !l.isDated {
		l.shift()
	}
	l.lastOf[l.piece] = len(l.lines) - 1
	if l.rotation == byCopy || l.rotation == byEither && l.chance(2) {
		l.did("copy to %s and truncate", name)
		l.copy(name)
		l.truncate()
		l.append(l.header)
	} else {
		l.did("rename to %s", name)
		must(l.t, os.Rename(l.path("log"), l.path(name)))
		l.name = name
		l.mayLook(3)
		if l.chance(3) { // the writer has not noticed it yet
			l.write()
		}
		must(l.t, l.file.Close())
		l.begin()
	}
	if l.isGzip {
		l.compress(l.rotatedName(l.rng.IntN(2)))
	}
}

// rotatedName returns the name of the file that was made so many rotations ago.
func (l *rotatedLog) rotatedName(ago int) string {
	if l.isDated {
		return fmt.Sprintf("log-%08d", l.rotations-ago)
	}
	return fmt.Sprintf("log.%d", 1+ago)
}

// shift renames log.1 to log.2, and so on, the last one first.
func (l *rotatedLog) shift() {
	for i := l.rotations; i >= 1; i-- {
		for _, suffix := range []string{"", ".gz"} {
			from := l.path(fmt.Sprintf("log.%d%s", i, suffix))
			if _, err := os.Stat(from); err == nil {
				must(l.t, os.Rename(from, l.path(fmt.Sprintf("log.%d%s", i+1, suffix))))
				l.mayLook(6)
			}
		}
	}
}

// copy copies the log, in one or some parts.
func (l *rotatedLog) copy(name string) {
	b, err := os.ReadFile(l.path("log"))
	must(l.t, err)
	if l.isCut && l.chance(3) {
		for _, n := range []int{0, l.rng.IntN(len(b))} {
			l.put(name, string(b[:n]))
			l.mayLook(2)
		}
	}
	l.put(name, string(b))
	l.mayLook(3)
}

// truncate empties the log, which its writer goes on with.
func (l *rotatedLog) truncate() {
	must(l.t, l.file.Truncate(0))
	l.changed("log")
	l.size = 0
	l.piece++
	l.mayLook(3)
}

// compress replaces a file by a compressed one.
func (l *rotatedLog) compress(name string) {
	b, err := os.ReadFile(l.path(name))
	if err != nil {
		return // the last rotation has compressed it
	}
	compressed := gzipped(l.t, string(b))
	if l.chance(3) {
		compressed = zstandard(l.t, string(b))
	}
	to := name + ".gz"
	l.did("compress %s", name)
	if l.isCut {
		if l.chance(4) {
			l.put(to, "")
			l.mayLook(2)
		}
		if l.chance(2) {
			l.put(to, compressed[:l.rng.IntN(len(compressed))])
			l.mayLook(2)
		}
	}
	l.put(to, compressed)
	l.mayLook(2)
	must(l.t, os.Remove(l.path(name)))
	l.mayLook(3)
}
