// Package model tests whole pipelines against a model. It holds only tests, which use
// nothing of the engine but its public API.
//
// A seed determines a tree of tasks and everything that happens in it. The engine runs
// the tree with parts that write down each call and its records. The model works out,
// without the engine, which calls must be seen: their records, their order, how they are
// grouped, what is acked, what goes to the dead-letter queue, and how Do ends. Then the
// two are compared.
//
//	tree, node, fault       what a seed determines
//	draw, drawn             how it is drawn, and proof that all of it is
//	record                  records that show who touched them
//	parts                   what the engine runs, and what the parts check themselves:
//	processor, parallel     processors
//	task, route             custom tasks, and tasks that choose a branch for each record
//	connectors              source, destinations and dead-letter queue
//	world, play, trace      a run, and what it has shown
//	expect, walk, step,
//	release, books          the model
//	compare, match, ending,
//	ahead                   a run compared with the model
//	shrink                  a smaller tree that fails in the same way
//	perform, bite, bites    proof that a fault in a run is noticed
//
// Each run takes place in a bubble of [testing/synctest]: waiting costs no time, and a
// goroutine that is left behind or waits forever is found.
//
// A new rule touches these files: tree or node (what may happen), draw (how often), drawn
// (that it does happen), task, processor or connectors (do it), walk, step or release
// (expect it), shrink (do without it), bites (notice a run that breaks it).
//
// To repeat one tree, and to run many new ones:
//
//	go test ./internal/model -run TestTrees -seed 123 -trees 1
//	go test ./internal/model -run TestTrees -seed 0 -trees 100000
package model
