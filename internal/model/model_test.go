package model

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	firstSeed = flag.Uint64("seed", 1,
		"the seed of the first tree, 0 to take one from the clock")
	treeCount = flag.Int("trees", 0,
		"the number of trees, 0 for some thousands or, with -short, some hundreds")
)

// TestTrees runs random trees and compares what comes out with the model.
func TestTrees(t *testing.T) {
	seed, trees := *firstSeed, *treeCount
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if trees == 0 {
		trees = 5000
		if testing.Short() {
			trees = 500
		}
	}
	failed := 0
	for i := range trees {
		tree := draw(seed + uint64(i))
		ok := t.Run(fmt.Sprintf("seed=%d", tree.seed), func(t *testing.T) { testTree(t, tree) })
		if !ok {
			failed++
		}
		if failed == 10 {
			t.Fatal("too many trees failed, the rest was not tried")
		}
	}
}

// testTree runs a tree and fails the test if it differs from the model.
func testTree(t *testing.T, tree *taskTree) {
	report, ok := try(t, tree)
	if ok {
		return
	}
	t.Errorf("%s", report)
	small := shrink(tree, func(tree *taskTree) bool {
		smaller, ok := try(t, tree)
		if !ok {
			report = smaller
		}
		return !ok
	})
	if small != tree {
		t.Logf("The smallest tree that fails:\n%s", report)
	}
}

// try runs a tree. If it differs from the model, it tells how.
func try(t *testing.T, tree *taskTree) (report string, ok bool) {
	run := play(t, tree)
	difference, expectation := compare(tree, run)
	if difference == "" {
		return "", true
	}
	return fmt.Sprintf("%s\n\ntree:\n%s\nrun:\n%s\nexpected:\n%s", difference, tree, run, expectation), false
}
