package funneltest

import (
	"crypto/rand"
	"runtime/pprof"
	"strings"
	"time"
)

// A goroutine inherits the profiling labels of the goroutine that starts it. So a check
// finds goroutines that the calls of a connector have left behind by their label, whatever
// other tests do at the same time. The goroutines that New starts, for example those of a
// server that runs until the end of the subtest, have no label.

// conformLabelKey is the key of the profiling label.
const conformLabelKey = "funneltest"

// labelled runs f. The goroutines of the calls in f, and those that they start, get a new
// label.
func (r *conformRun) labelled(f func()) {
	ctx, label := r.ctx, r.label
	defer func() { r.ctx, r.label = ctx, label }()
	r.label = rand.Text()
	r.ctx = pprof.WithLabels(ctx, pprof.Labels(conformLabelKey, r.label))
	f()
}

// goroutines returns the stacks of the goroutines that have the current label, or "" if
// there are none.
func (r *conformRun) goroutines() string {
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		r.fail("the goroutines cannot be listed: %v", err)
	}
	var stacks strings.Builder
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, r.label) {
			conformWriteStack(&stacks, group)
		}
	}
	return stacks.String()
}

// conformWriteStack writes what a goroutine profile says about the goroutines that have
// the same stack: a line of numbers, one of labels, and one for each function, with its
// address, its name and its place in the source.
func conformWriteStack(to *strings.Builder, group string) {
	lines := strings.Split(strings.TrimSpace(group), "\n")
	count, _, _ := strings.Cut(lines[0], " ")
	to.WriteString("  " + count + " at\n")
	for _, line := range lines[1:] {
		if fields := strings.Fields(line); len(fields) == 4 && fields[0] == "#" {
			name, _, _ := strings.Cut(fields[2], "+")
			to.WriteString("    " + name + "  " + fields[3] + "\n")
		}
	}
}

// checkGoroutines adds a finding if goroutines with the current label do not end. what
// names the call before, for the finding.
func (r *conformRun) checkGoroutines(what string) {
	stacks := r.goroutines()
	for pause := time.Millisecond; stacks != "" && !r.isOver(); pause = min(2*pause, 100*time.Millisecond) {
		r.pause(pause)
		stacks = r.goroutines()
	}
	if stacks != "" {
		r.fail("%s, these goroutines of the connector still run when the subtest ends (Timeout %v):\n%s", what, r.timeout, stacks)
	}
}

// checkLeaks runs a cycle of calls twice, and adds a finding if the second one leaves
// goroutines behind. Goroutines that a program starts only once do not count.
func (r *conformRun) checkLeaks(what string, cycle func()) {
	r.labelled(cycle)
	r.labelled(func() {
		cycle()
		r.checkGoroutines(what)
	})
}
