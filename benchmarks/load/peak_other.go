//go:build !unix

package main

import "os"

// peakMiB returns 0: the figure is not known here.
func peakMiB(*os.ProcessState) float64 { return 0 }
