package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/funnel"
)

// The trees have all that they are meant to have.

// TestDrawsAll checks that the trees have all that they are meant to have,
// and that a seed always gives the same tree.
func TestDrawsAll(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes thousands of trees to draw all")
	}
	seen := map[string]int{}
	count := func(what string, is bool) {
		if is {
			seen[what]++
		} else {
			seen[what] += 0
		}
	}
	for seed := uint64(1); seed <= 5000; seed++ {
		tree := draw(seed)
		if tree.String() != draw(seed).String() {
			t.Fatalf("seed %d does not always give the same tree", seed)
		}
		x := expect(tree, &trace{})
		for kind := faultNone; kind < faults; kind++ {
			count("fault: "+faultNames[kind], tree.fault.kind == kind && (x.endings[0].bad() || !endsDo[kind]))
		}
		count("a fan-out at the source", len(tree.first.next) > 1)
		count("no fan-out", tree.linear())
		count("no record", tree.records() == 0)
		count("a refused nack", tree.fault.kind == faultNone && x.endings[0].fails)
		count("a write that waits", tree.wait.nth > 0)
		count("a source whose teardown fails", tree.balks > 0)
		count("a blocking read that ignores its context", tree.deaf && tree.blocks())
		for kind := faultNone; kind < faults; kind++ {
			count("ahead, fault: "+faultNames[kind], tree.ahead > 0 && tree.fault.kind == kind)
		}
		for _, n := range tree.nodes() {
			count("a parallel processor", n.workers > 1)
			count("a fault in a parallel processor", n.workers > 1 && tree.fault.node == n.id)
			count("a task that reads on forward", n.readsOn && !n.backward)
			count("a task that reads on backward", n.readsOn && n.backward)
		}
		depth := 0
		var look func(n *node, fans int)
		look = func(n *node, fans int) {
			if len(n.next) > 1 {
				fans++
			}
			depth = max(depth, fans)
			for _, next := range n.next {
				look(next, fans)
				count("a task behind a destination", n.kind == kindDestination)
			}
			count("a branch that ends in a custom task", len(n.next) == 0 && n.kind == kindTask)
		}
		look(tree.first, 0)
		for fans := range 4 {
			count(fmt.Sprintf("%d fan-outs deep", fans), depth == fans)
		}
		for _, nacks := range x.nacks {
			count("several candidates for the first nack", len(nacks) > 1)
		}
		countOptions(count, tree, x)
		countRoutes(count, tree, x)
	}
	for what, n := range seen {
		if n < 3 {
			t.Errorf("%s: drawn %d times", what, n)
		}
	}
}

// countRoutes counts what routes have brought about.
func countRoutes(count func(what string, is bool), t *taskTree, x *expectation) {
	isForgiven := t.forgiven()
	routes := map[string]*node{}
	parents := map[string]*node{} // of the nodes after a route
	for _, n := range t.nodes() {
		count("a fan-out right after a route", parents[n.id] != nil && n.kind != kindRoute && len(n.next) > 1)
		if n.kind != kindRoute {
			continue
		}
		routes[n.id] = n
		for _, next := range n.next {
			parents[next.id] = n
		}
		isBranch := len(n.next) > 1
		count("a route with a single case", !isBranch)
		count("a route in a route", parents[n.id] != nil)
		count("a best-effort branch after a route", isBranch && slices.ContainsFunc(n.next, func(next *node) bool { return next.bestEffort }))
		count("a route that begins a best-effort branch", n.bestEffort)
		for _, kind := range []faultKind{faultPanic, faultGoexit, faultCancel, faultStop, faultStopShort} {
			count("route, fault: "+faultNames[kind], t.fault.kind == kind && t.fault.node == n.id)
		}
		count("a route that ends its goroutine on a best-effort branch", t.aside.node == n.id)
	}
	var look func(steps []*expectedCall)
	look = func(steps []*expectedCall) {
		for i, step := range steps {
			n := routes[step.who]
			if n != nil {
				for _, e := range step.then {
					if e.nack == nil || e.nack.err != funnel.ErrNoRoute {
						continue
					}
					count("no route", true)
					count("no route for a piece", strings.Contains(lineage(step.items[0]), "/"))
					count("no route on a best-effort branch", e.isForgiven)
					count("whole, no route", t.whole)
				}
				isFan := i+1 < len(steps) && steps[i+1].fan != nil
				count("embedded, branches without records", isFan && n.embeds && len(steps[i+1].fan) < len(n.next))
				count("records of one call on several branches", isFan && len(n.next) > 1 && len(steps[i+1].fan) > 1)
				count("a filtered record before a route", len(n.next) > 1 && slices.ContainsFunc(step.then, func(e event) bool { return e.copies < 0 && e.nack == nil }))
				count("no fan-out for a route", len(n.next) > 1 && !isFan && len(step.then) == 0)
				if isFan {
					fan := steps[i+1]
					count("after a route, a branch that fails", len(fan.faulty) > 0)
					count("after a route, a best-effort branch that fails", len(fan.spoiled) > 0)
					count("after a route, a branch that fails beside another one", len(fan.faulty) > 0 && len(fan.fan) > 1)
					apart := map[int]int{}
					for _, given := range fan.given {
						for slot := range given {
							apart[slot]++
							count("pieces of a record on several branches of a route", apart[slot] > 1)
						}
					}
				}
			}
			count("a record is given again after a route", step.again && parents[step.who] != nil)
			for _, branch := range step.fan {
				look(branch)
			}
		}
	}
	look(x.steps)
	isNacked := func(kind func(nack nackInfo) bool) bool {
		for _, nacks := range x.nacks {
			if slices.ContainsFunc(nacks, kind) {
				return true
			}
		}
		return false
	}
	count("a nack after a route", isNacked(func(nack nackInfo) bool { return parents[nack.task] != nil && !isForgiven[parents[nack.task]] }))
}

// endsDo tells for which faults Do does not return nil when they happen.
var endsDo = map[faultKind]bool{
	faultWrite: true, faultAck: true, faultAckWrong: true, faultAckMany: true, faultAckStop: true,
	faultNothing: true, faultTooMany: true, faultAlien: true, faultMute: true, faultTask: true,
	faultPanic: true, faultGoexit: true, faultRead: true, faultReadCanceled: true, faultNoPosition: true,
	faultReadPanic: true, faultSourceAck: true, faultSourcePanic: true, faultSourceClosed: true,
	faultQueueWrite: true, faultQueueNack: true, faultQueueNacks: true, faultQueuePanic: true,
}

// countOptions counts what the options of a tree have brought about.
func countOptions(count func(what string, is bool), t *taskTree, x *expectation) {
	ending := x.endings[0]
	isRefused := ending.fails && !x.failed && t.fault.kind == faultNone
	released := func(who string) bool {
		return slices.ContainsFunc(x.rest, func(step *expectedCall) bool { return step.who == who })
	}
	count("acks after an error", !t.whole && released("ack"))
	count("dead letters after an error", !t.whole && released("dlq"))
	count("a refused nack after an error", x.failed && len(ending.anyOf) > 0)
	count("whole, acks after an error", t.whole && released("ack"))
	count("whole, acks after an error, no fan-out", t.whole && t.linear() && released("ack"))
	count("whole, dead letters after an error", t.whole && released("dlq"))
	count("whole, no queue", t.whole && t.queue.none && isRefused)
	count("whole, a refused nack", t.whole && !t.queue.none && isRefused)
	count("whole, read ahead", t.whole && t.ahead > 0)
	for kind := faultQueueWrite; kind < faults; kind++ {
		count("whole, fault: "+faultNames[kind], t.whole && t.fault.kind == kind && ending.bad())
	}
	for _, calls := range []int{-1, 1, 2, 30} {
		count(fmt.Sprintf("at most %d calls", calls), t.retry.MaxCalls == calls)
	}
	givesUp := slices.Contains(ending.all, funnel.ErrNoProgress)
	count("gives up after one call", givesUp && t.limit() == 1)
	count("gives up after some calls", givesUp && t.limit() > 1 && t.limit() != 16)
	count("shortest pause only", t.retry.MinPause > 0 && t.retry.MaxPause == 0)
	count("longest pause only", t.retry.MinPause == 0 && t.retry.MaxPause > 0)
	count("drains, stop is called", t.drains && t.fault.stops())
	count("checks of ownership", t.checks)
	count("dead letters as read, read ahead", t.asRead && t.ahead > 0)
	count("dead letters as read, whole batches", t.asRead && t.whole)
	count("no piece IDs, IDs of the source", !t.pieceIDs && t.ownIDs)
	isForgiven := t.forgiven()
	for _, n := range t.nodes() {
		isHit := isForgiven[n] && n.id == t.fault.node
		count("the context ends on a best-effort branch", isHit && t.fault.kind == faultCancel)
		count("a best-effort branch", n.bestEffort)
		count("a best-effort branch that begins with a destination", n.bestEffort && n.kind == kindDestination)
	}
	count("a best-effort branch that is skipped", x.isSkipped)
	var look func(steps []*expectedCall, isForgiven bool)
	look = func(steps []*expectedCall, isForgiven bool) {
		for i, step := range steps {
			isNext := i > 0 && steps[i-1].who == step.who
			count("a pause at once", step.again && isNext && step.idle == 0)
			count("a pause that a policy has set", isNext && step.idle > 0 && t.retry.MinPause > 0)
			count("the longest pause", isNext && step.idle > 1 && t.pause(step.idle) == t.retry.MaxPause)
			count("more calls than by default", step.idle > 16)
			for _, item := range step.items {
				isWrite := strings.HasPrefix(step.who, "dest")
				count("a piece with an ID", isWrite && strings.Contains(item, "#0"))
				count("a piece of a piece with an ID", isWrite && strings.Contains(item, "#1.0"))
				count("a record with an ID of the source", t.pieceIDs && isWrite && strings.Contains(item, "#own"))
			}
			for _, nack := range step.nacks {
				count("a dead letter that holds the record "+nack.version.String(), true)
			}
			count("whole, several dead letters", t.whole && len(step.slots) > 1 && step.who == "dlq")
			count("whole, dead letters of several tasks", t.whole && ofSeveralTasks(step.nacks))
			count("whole, acks and dead letters together", t.whole && step.who == "ack" && i > 0 &&
				steps[i-1].who == "dlq" && len(steps[i-1].slots) < len(step.slots))
			isNacked := slices.ContainsFunc(step.then, func(e event) bool { return e.isForgiven && e.nack != nil })
			count("a nack on a best-effort branch", isNacked)
			count("whole, a nack on a best-effort branch", t.whole && isNacked)
			count("a best-effort branch that fails", len(step.spoiled) > 0)
			count("a best-effort branch that fails in another", len(step.spoiled) > 0 && isForgiven)
			count("a required branch that fails in a best-effort branch", len(step.faulty) > 0 && isForgiven)
			hasForgiven := slices.Contains(step.forgiven, true)
			count("a required branch that ends its goroutine beside a best-effort one",
				hasForgiven && t.fault.kind == faultGoexit && len(step.faulty) > 0)
			count("a panic on a best-effort branch", t.fault.kind == faultPanic &&
				slices.ContainsFunc(step.faulty, func(k int) bool { return step.forgiven[k] }))
			count("best-effort and required branches that fail", len(step.spoiled) > 0 && len(step.faulty) > 0)
			for k, branch := range step.fan {
				look(branch, isForgiven || step.forgiven[k])
			}
			for range step.spoiled {
				for _, kind := range []faultKind{faultWrite, faultAck, faultAckStop, faultNothing, faultMute, faultTask, faultGoexit} {
					count("best effort, fault: "+faultNames[kind], t.aside.kind == kind)
				}
			}
		}
	}
	look(x.steps, false)
}

// ofSeveralTasks reports whether not all nacks are from one task.
func ofSeveralTasks(nacks []nackInfo) bool {
	return slices.ContainsFunc(nacks, func(nack nackInfo) bool { return nack.task != nacks[0].task })
}
