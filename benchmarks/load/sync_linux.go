package main

import (
	"os"
	"syscall"
)

// syncData makes durable what was written, as the file connector does.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
