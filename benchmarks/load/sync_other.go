//go:build !linux

package main

import "os"

// syncData makes durable what was written.
func syncData(f *os.File) error { return f.Sync() }
