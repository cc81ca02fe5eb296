package main

import (
	"errors"
	"fmt"
	"slices"
)

// check compares the outputs of the life with its input.
func (l *life) check() error {
	var errs []error
	for source, acked := range l.starts[len(l.starts)-1].acked {
		if acked != l.plan.records {
			errs = append(errs, fmt.Errorf("at the end, %d of %d records of source %d are acked", acked, l.plan.records, source))
		}
	}
	for _, o := range slices.Concat(l.plan.outputsOf(destinationA), l.plan.outputsOf(destinationB)) {
		lines, err := o.lines(l.dir, l.plan, parsePiece)
		if err != nil {
			return err
		}
		for source := range l.plan.sources {
			errs = append(errs, l.checkLines(o.path, source, ofSource(lines, source), l.wantPieces(o, source)))
		}
	}
	for source := range l.plan.sources {
		for _, o := range l.plan.outputsOf(queueOf(source)) {
			lines, err := o.lines(l.dir, l.plan, parseLetter)
			if err != nil {
				return err
			}
			if foreign := len(lines) - len(ofSource(lines, source)); foreign > 0 {
				errs = append(errs, fmt.Errorf("%s holds %d records of other sources", o.path, foreign))
			}
			errs = append(errs, l.checkLines(o.path, source, ofSource(lines, source), l.wantLetters(o, source)))
		}
	}
	return errors.Join(append(errs, l.checkFiles())...)
}

func ofSource(lines []line, source int) (its []line) {
	for _, l := range lines {
		if l.source == source {
			its = append(its, l)
		}
	}
	return its
}

// A want holds the lines that an output may have: true for those that must be there.
type want map[[2]int]bool // by record and piece

// wantPieces returns the lines of a source in an output of a or b. A piece on the way to b whose
// sibling was refused on the way to b may be there or not: siblings that were given to the
// processor in the same call are refused with it, others are not.
func (l *life) wantPieces(o output, source int) want {
	w := want{}
	for id := range l.plan.records {
		f := l.plan.fate(source, id)
		if f.filtered || f.refused || !o.takes(f) {
			continue
		}
		for piece := range f.pieces {
			switch {
			case o.destination == destinationA || f.bad < 0:
				w[[2]int{id, piece}] = true
			case piece != f.bad:
				w[[2]int{id, piece}] = false
			}
		}
	}
	return w
}

// wantLetters returns the lines of a source in an output of its queue.
func (l *life) wantLetters(o output, source int) want {
	w := want{}
	for id := range l.plan.records {
		if f := l.plan.fate(source, id); o.takes(f) && (f.refused || !f.filtered && f.bad >= 0) {
			w[[2]int{id, 0}] = true
		}
	}
	return w
}

// checkLines checks the lines of a source in an output.
func (l *life) checkLines(name string, source int, lines []line, w want) error {
	if err := l.checkRuns(name, source, lines); err != nil {
		return err
	}
	// Without the repeats, every line must be there, in order.
	seen := map[[2]int]bool{}
	var last *line
	for i, at := range lines {
		key := [2]int{at.id, at.piece}
		if _, may := w[key]; !may {
			return fmt.Errorf("%s: %v should not be there", name, at)
		}
		if seen[key] {
			l.report.repeats++
			continue
		}
		seen[key] = true
		if last != nil && !at.follows(*last) {
			return fmt.Errorf("%s: %v stands behind %v", name, at, *last)
		}
		last = &lines[i]
	}
	for key, must := range w {
		if must && !seen[key] {
			return fmt.Errorf("%s: piece %d of record %d of source %d is missing", name, key[1], key[0], source)
		}
	}
	return nil
}

// checkRuns checks the lines of each run: they are in order, none of their records was acked
// when the run began, and the run repeats no more records than were in flight when the run
// before it ended.
func (l *life) checkRuns(name string, source int, lines []line) error {
	highest := -1 // the highest record that was written
	for run := range len(l.starts) - 1 {
		begin, end := l.starts[run], l.starts[run+1]
		if end.sizes[name] < begin.sizes[name] {
			return fmt.Errorf("%s: run %d has removed whole lines: it began with %d bytes of them and left %d",
				name, run, begin.sizes[name], end.sizes[name])
		}
		acked := begin.acked[source]
		again := highest + 1 - acked
		l.report.longest = max(l.report.longest, again)
		if !l.plan.coalesced && again > l.plan.inFlight() {
			return fmt.Errorf("%s: when run %d began, %d records of source %d were acked, but record %d was written before: only %d can have been in flight",
				name, run, acked, source, highest, l.plan.inFlight())
		}
		var last *line
		for len(lines) > 0 && lines[0].at < end.sizes[name] {
			at := lines[0]
			switch {
			case at.id < acked:
				return fmt.Errorf("%s: run %d has written %v, but %d records were acked when it began", name, run, at, acked)
			case last != nil && !at.follows(*last):
				return fmt.Errorf("%s: run %d has written %v behind %v", name, run, at, *last)
			}
			highest = max(highest, at.id)
			last, lines = &at, lines[1:]
		}
	}
	if len(lines) > 0 {
		return fmt.Errorf("%s: %v was written after the last run", name, lines[0])
	}
	return nil
}
