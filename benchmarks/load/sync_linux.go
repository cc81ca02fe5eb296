package main

import (
	"os"
	"syscall"
)

// syncData makes what was written durable, as the connector of files does.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
