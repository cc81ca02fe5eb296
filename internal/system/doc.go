// Package system tests what only whole pipelines show: what they cost, which memory they
// give back, positions from the source to the last destination, decorators around one
// another, random lives of a worker, and fuzzed batches.
//
// Its model of a batch covers everything that custom tasks can do through the public
// methods; the pipelines of internal/model use these in a few ways only. The books
// behind the methods have tests, and a model, of their own in internal/batch.
package system
