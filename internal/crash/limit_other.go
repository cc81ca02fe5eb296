//go:build !unix

package main

// limitFileSize does nothing: there is no such limit.
func limitFileSize(uint64) error { return nil }

func isDiskFull(error) bool { return false }
