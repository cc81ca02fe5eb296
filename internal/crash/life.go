package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

func sourceID(source int) string { return fmt.Sprintf("source %d", source) }

// maxRuns is how many runs a life may take. Only a life that makes no progress takes more.
const maxRuns = 2000

// A life is an input with all the runs that it takes to read it to its end.
type life struct {
	plan plan
	dir  string
	disk *smallDisk    // the directory is its root, or nil
	rng  *rand.Rand    // for the moments of the kills
	mean time.Duration // how long the next run lives on average

	// starts holds the state at the beginning of each run, and after the last one.
	starts []start
	report report
}

// A start is the state in which a run begins.
type start struct {
	acked []int            // of each source, the number of records whose acks were saved
	sizes map[string]int64 // of each output, the bytes of its complete lines
}

func newLife(seed uint64) *life {
	return &life{plan: newPlan(seed), rng: rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano()))), mean: minMean}
}

// minMean is how long a run lives on average, once it is ready. Runs live longer while they
// make no progress.
const minMean = 30 * time.Millisecond

// run lives the life in a new directory, and then removes the directory, unless there is an
// error and keep is set.
func (l *life) run(ctx context.Context, keep bool) (r report, err error) {
	dir, err := os.MkdirTemp("", "funnel-crash-")
	if err != nil {
		return r, err
	}
	l.dir = dir
	defer func() {
		if err != nil && keep {
			err = fmt.Errorf("%w (the files are in %s)", err, dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if l.plan.fullDisk {
		if l.disk, l.report.noDisk = newSmallDisk(dir); l.disk != nil {
			l.dir = l.disk.dir
			defer func() {
				if err != nil && keep {
					err = errors.Join(err, os.CopyFS(dir, os.DirFS(l.dir)))
				}
				err = errors.Join(err, l.disk.close())
			}()
		}
	}
	if err := l.live(ctx); err != nil {
		return l.report, err
	}
	return l.report, l.check()
}

// live makes the input and runs the child until it is done.
func (l *life) live(ctx context.Context) error {
	for source := range l.plan.sources {
		if err := l.plan.makeInput(l.dir, source); err != nil {
			return err
		}
	}
	l.report.lives = 1
	l.report.records = l.plan.sources * l.plan.records
	if err := l.noteStart(ctx); err != nil {
		return err
	}
	for run := range maxRuns {
		done, err := l.runOnDisk(ctx, uint64(run))
		if err != nil {
			return fmt.Errorf("run %d: %w", run, err)
		}
		if err := l.noteStart(ctx); err != nil {
			return err
		}
		if done {
			return nil
		}
		l.mean = max(minMean, l.mean*9/10)
		if n := len(l.starts); slices.Equal(l.starts[n-1].acked, l.starts[n-2].acked) {
			l.mean *= 2
		}
	}
	return fmt.Errorf("the input is not done after %d runs", maxRuns)
}

// runOnDisk is runChild on a disk that may be nearly full.
func (l *life) runOnDisk(ctx context.Context, run uint64) (done bool, err error) {
	if rng := rand.New(rand.NewPCG(^l.plan.seed, run)); l.disk != nil && rng.IntN(2) == 0 {
		if err := l.disk.leave(rng.Int64N(200 << 10)); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, l.disk.empty()) }()
	}
	return l.runChild(ctx, run)
}

// runChild returns true if the child has read the input to its end.
func (l *life) runChild(ctx context.Context, run uint64) (done bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), childVariable+"="+childArguments{dir: l.dir, seed: l.plan.seed, run: run}.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	// The child prints a line when it is ready. If it ends before that, so does its output.
	_, _ = bufio.NewReader(stdout).ReadString('\n')
	// Most kills hit a run that is well under way, and some hit its beginning.
	kill := time.AfterFunc(time.Duration(l.rng.ExpFloat64()*float64(l.mean)), func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case !errors.As(err, &exit):
		return false, err
	case exit.ExitCode() == codeInjured:
		l.report.failures++
		return false, nil
	case exit.ExitCode() == -1: // ended by a signal
		l.report.kills++
		return false, nil
	default:
		return false, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
}

// noteStart notes the state in which the next run begins.
func (l *life) noteStart(ctx context.Context) (err error) {
	s := start{sizes: map[string]int64{}, acked: make([]int, l.plan.sources)}
	if len(l.starts) > 0 { // the first run makes the store
		store, closeStore, err := l.plan.openStore(l.dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeStore()) }()
		for source := range s.acked {
			if s.acked[source], err = savedRecords(ctx, store, sourceID(source)); err != nil {
				return err
			}
		}
	}
	for _, o := range l.plan.outputs() {
		data, err := o.read(l.dir, l.plan)
		if err != nil {
			return err
		}
		s.sizes[o.path] = int64(bytes.LastIndexByte(data, '\n') + 1)
	}
	l.starts = append(l.starts, s)
	return nil
}

// savedRecords returns the number of records of a source whose acks were saved. The claim
// fails if the killed process still holds it.
func savedRecords(ctx context.Context, store position.Store, id string) (int, error) {
	claim, err := store.Claim(ctx, id)
	if err != nil {
		return 0, err
	}
	saved, err := claim.Load(ctx)
	if err = errors.Join(err, claim.Release(ctx)); err != nil || saved == nil {
		return 0, err
	}
	progress, err := file.ParsePosition(saved)
	return int(progress.Records), err
}
