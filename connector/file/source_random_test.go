package file_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// world is a log that is written and rotated in random ways, and read by a source that is
// restarted now and then at the last acked position.
type world struct {
	t   *testing.T
	rng *rand.Rand
	dir string
	f   *follower

	written  []string
	read     []opencdc.Record // since the last restart
	acked    opencdc.Position
	isAcked  map[string]bool
	seen     map[string]bool
	rotated  int
	history  []string
	pendings []string // names of files that are not compressed yet
}

func (w *world) did(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf(format, args...))
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// step does something to the log.
func (w *world) step() {
	switch n := w.rng.IntN(12); {
	case n < 6:
		var text strings.Builder
		for range 1 + w.rng.IntN(5) {
			line := fmt.Sprintf("%d %s", len(w.written), strings.Repeat("x", w.rng.IntN(2)*w.rng.IntN(400)))
			w.written = append(w.written, line)
			text.WriteString(line + "\n")
		}
		cut := w.rng.IntN(text.Len() + 1)
		grow(w.t, w.path("log"), text.String()[:cut])
		if w.rng.IntN(2) == 0 {
			w.poll()
		}
		grow(w.t, w.path("log"), text.String()[cut:])
		w.did("write up to %d", len(w.written)-1)
	case n == 6:
		w.rotated++
		name := fmt.Sprint("log.", w.rotated)
		w.did("rename to %s", name)
		must(w.t, os.Rename(w.path("log"), w.path(name)))
		grow(w.t, w.path("log"), "")
		w.pendings = append(w.pendings, name)
	case n == 7:
		if info, err := os.Stat(w.path("log")); err != nil || info.Size() == 0 {
			return
		}
		w.rotated++
		name := fmt.Sprint("log.", w.rotated)
		w.did("copy to %s and truncate", name)
		if w.rng.IntN(2) == 0 {
			w.copySlowly("log", name)
		}
		copyTruncate(w.t, w.path("log"), w.path(name))
		w.pendings = append(w.pendings, name)
	case n == 8 && len(w.pendings) > 0:
		name := w.pendings[0]
		w.pendings = w.pendings[1:]
		b, err := os.ReadFile(w.path(name))
		must(w.t, err)
		if len(b) == 0 {
			return
		}
		w.did("compress %s", name)
		compressed := gzipped(w.t, string(b))
		if w.rng.IntN(2) == 0 {
			compressed = zstandard(w.t, string(b))
		}
		must(w.t, os.WriteFile(w.path(name+".gz"), []byte(compressed[:len(compressed)/2]), 0o600))
		if w.rng.IntN(2) == 0 {
			w.poll()
		}
		must(w.t, os.WriteFile(w.path(name+".gz"), []byte(compressed), 0o600))
		if w.rng.IntN(2) == 0 {
			w.poll()
		}
		must(w.t, os.Remove(w.path(name)))
	case n == 9:
		w.restart()
	default:
		w.poll()
	}
}

// copySlowly copies a file in steps, between which the source may look. It looks at the whole.
func (w *world) copySlowly(from, to string) {
	b, err := os.ReadFile(w.path(from))
	must(w.t, err)
	for _, n := range []int{0, w.rng.IntN(len(b)), len(b)} {
		must(w.t, os.WriteFile(w.path(to), b[:n], 0o600))
		if w.rng.IntN(2) == 0 {
			w.poll()
		}
	}
	w.poll()
	w.poll()
}

// poll reads for a while, and acks some of what was read.
func (w *world) poll() {
	recs, err := w.f.poll(time.Duration(1+w.rng.IntN(3)) * time.Second)
	must(w.t, err)
	for _, text := range texts(recs) {
		if w.isAcked[text] {
			w.t.Fatalf("%q was acked and is read again", text)
		}
		if strings.HasPrefix(text, "!") {
			w.t.Fatalf("%q is damaged", text)
		}
		w.seen[text] = true
	}
	w.read = append(w.read, recs...)
	n := w.rng.IntN(len(w.read) + 1)
	if n == 0 {
		return
	}
	var positions []opencdc.Position
	for i, text := range texts(w.read[:n]) {
		w.isAcked[text] = true
		positions = append(positions, w.read[i].Position)
	}
	w.acked = positions[n-1]
	w.read = w.read[n:]
	must(w.t, w.f.s.Ack(context.Background(), positions))
	w.did("acked %d of %.30q", n, texts(recs))
}

func (w *world) restart() {
	w.did("restart")
	w.read = nil
	if w.f != nil {
		w.f.close()
		if w.rng.IntN(2) == 0 {
			must(w.t, w.f.s.Open(context.Background()))
			return
		}
	}
	w.f = follow(w.t, w.dir, file.Lines, w.acked, file.WithBatch(1+w.rng.IntN(4), 1<<10))
}

func (w *world) run() {
	grow(w.t, w.path("log"), "")
	w.restart()
	for range 60 {
		w.step()
	}
	for range 20 {
		w.poll()
	}
	w.poll()
	w.f.close()
	for _, line := range w.written {
		if !w.seen[line] {
			w.t.Fatalf("%q is missing", line)
		}
	}
	if lost := w.f.s.Stats().BytesVanished; lost != 0 {
		w.t.Errorf("%d bytes vanished", lost)
	}
}

// However a log is rotated and the source is restarted, no line is missing, and none that
// was acked is read again.
func TestFollow_random(t *testing.T) {
	for seed := range uint64(60) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: dir, isAcked: make(map[string]bool), seen: make(map[string]bool)}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d:\n%s\nlog:\n%s", seed, strings.Join(w.history, "\n"), w.f.log.String())
					files, _ := filepath.Glob(w.dir + "/*")
					for _, name := range files {
						b, _ := os.ReadFile(name)
						t.Logf("%s: %.300q", name, b)
					}
				}
			}()
			w.run()
		})
		if t.Failed() {
			return
		}
	}
}
