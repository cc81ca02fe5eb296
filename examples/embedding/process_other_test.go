//go:build !linux

package embedding_test

// Elsewhere the failures of processes are not tried.
var processFailures []failure
