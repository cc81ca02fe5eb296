//go:build !unix

package main

// limitFileSize does nothing: there is no such limit here.
func limitFileSize(uint64) error { return nil }

func isDiskFull(error) bool { return false }
