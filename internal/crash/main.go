// Crash kills pipelines. It runs a real pipeline, from files to files, in a child process,
// kills the process at random moments, and starts it again until the input is done. Then it
// checks that nothing is lost, damaged or out of order and, unless saves are coalesced, that
// no more was written twice than can have been in flight.
//
// A life is an input with all the runs that it takes to read it to its end. Its seed decides
// everything but the moments of the kills: the options of the worker, the records and the
// fate of each, where positions are kept, and which other faults there are.
//
// The outputs of some lives rotate by size, or by age on a clock that is set forward and back
// all the time. Those of some have names from the records, and fewer of them may be open than
// there are names. Positions are in files or in a bbolt database. Other faults are saves that
// fail before or after they have happened, a limit on the size of files, and a full disk: a
// small tmpfs, where the machine lets this program mount one in a namespace of its own.
// Otherwise the last line says why there was none.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	beChild()
	kills := flag.Int("kills", 50, "end after this `number` of kills")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "the `seed` of the first life; each further life has the next one")
	lives := flag.Int("lives", 0, "end after this `number` of lives, whatever the number of kills")
	keep := flag.Bool("keep", false, "keep the files of a life that has failed")
	flag.Parse()
	if flag.NArg() > 0 || *kills < 1 || *lives < 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	total, err := run(ctx, *seed, *kills, *lives, *keep)
	fmt.Println(total)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

// beChild ends the process if it was started by another one, and has done what it is for.
func beChild() {
	if args, ok := childArgs(); ok {
		os.Exit(runChild(args))
	}
	if dir, ok := diskArgs(); ok {
		os.Exit(holdDisk(dir))
	}
}

// run runs lives until there were enough kills or lives.
func run(ctx context.Context, seed uint64, kills, lives int, keep bool) (report, error) {
	var total report
	for n := 0; total.kills < kills && (lives == 0 || n < lives); n++ {
		l := newLife(seed + uint64(n))
		r, err := l.run(ctx, keep)
		total.add(r)
		if err != nil {
			return total, fmt.Errorf("life of seed %d (%s): %w", l.plan.seed, l.plan, err)
		}
	}
	return total, nil
}

// A report counts what happened in lives.
type report struct {
	lives, kills, failures int   // failures are runs that have ended with an injected fault
	records, repeats       int   // repeats are records that were written more than once
	longest                int   // the most records that were read again after one kill
	rotations              int   // files that were rotated
	noDisk                 error // why lives had no small disk, or nil
}

func (r *report) add(other report) {
	r.lives += other.lives
	r.kills += other.kills
	r.failures += other.failures
	r.records += other.records
	r.repeats += other.repeats
	r.longest = max(r.longest, other.longest)
	r.rotations += other.rotations
	if r.noDisk == nil {
		r.noDisk = other.noDisk
	}
}

func (r report) String() string {
	text := fmt.Sprintf("%d lives with %d records survived %d kills, %d other faults and %d rotations; %d lines were written again, after a kill those of at most %d records",
		r.lives, r.records, r.kills, r.failures, r.rotations, r.repeats, r.longest)
	if r.noDisk != nil {
		text += fmt.Sprintf("; no disk was full, since this machine has refused a small one: %v", r.noDisk)
	}
	return text
}
