// Package system holds the tests of what only whole pipelines show: what they cost, which
// memory they give back, positions from the source to the last destination, random lives
// of a worker, and fuzzed batches.
//
// Its model of a batch knows what custom tasks do to one by the public methods, which the
// pipelines of internal/model do in few ways only. The books behind these methods have
// tests, and a model, of their own in internal/batch.
package system
