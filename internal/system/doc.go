// Package system holds the tests of whole pipelines: what they cost, which memory
// they give back, positions from the source to the last destination, random lives
// of a worker, and fuzzed batches on their way through tasks.
package system
