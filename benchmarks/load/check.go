package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// check returns an error if a contestant has not written the right number of events and dead
// letters for an input of this many lines. The tests compare the contents.
func check(lines int, out string) error {
	kept, letters := 0, 0
	for id := range lines {
		switch {
		case id%filterEvery == 0:
		case id%refuseEvery == refuseAt:
			letters++
		default:
			kept++
		}
	}
	for path, want := range map[string]int{eventsPath(out): kept, lettersPath(out): letters} {
		got, err := countLines(path)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s has %d lines, want %d", path, got, want)
		}
	}
	return nil
}

func countLines(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, 1<<20)
	for {
		read, err := f.Read(buf)
		n += bytes.Count(buf[:read], []byte("\n"))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
