// Package model tests whole pipelines against a model. It holds tests only, and
// they use nothing of the engine but its public API.
//
// A seed gives a tree of tasks, with all that happens to it. The engine runs the
// tree with parts that write down each call and the records in it. The model
// works out, without the engine, which calls must be seen: their records, their
// order, how they are grouped, what is acked and what goes to the dead-letter
// queue, and how Do ends. The two are compared.
//
//	tree, fault, draw       what a seed gives
//	record                  records that show who touched them
//	parts                   what the engine runs, and what it checks by itself:
//	processor, parallel     processors
//	task                    custom tasks
//	connectors              source, destinations and dead-letter queue
//	world, play, trace      a run, and what it has shown
//	expect, walk, release   the model
//	compare, ahead          a run against the model
//	shrink                  a smaller tree that fails in the same way
//	perform, bite           proof that a fault in a run is noticed
//
// Each run has a bubble of [testing/synctest]: waiting costs no time, and a
// goroutine that is left behind or waits forever is found.
//
// A new rule touches these: tree (what may happen to a record), draw (how often, and in
// TestDrawsAll that it does), task, processor or connectors (do it), walk or release
// (expect it), bite (a run that breaks it is noticed).
//
// One tree again, and many new ones:
//
//	go test ./internal/model -run TestTrees -seed 123 -trees 1
//	go test ./internal/model -run TestTrees -seed 0 -trees 100000
package model
