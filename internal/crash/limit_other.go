//go:build !unix

package main

// limitFileSize does nothing: there is no such limit here.
func limitFileSize(uint64) error { return nil }

func isFileTooLarge(error) bool { return false }
func isDiskFull(error) bool     { return false }
