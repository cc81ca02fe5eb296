package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/conduitio/funnel/benchmarks/internal/report"
)

// A comparison runs all contestants over one input.
type comparison struct {
	MiB     int64     `json:"mib"`
	Lines   int       `json:"lines"` // of the input
	Runs    int       `json:"runs"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Figures []*figure `json:"figures"`

	benthos string // the program that runs Benthos, or ""
	results string // the file for the figures, or ""
}

// A figure is the result of a contestant: its run with the least CPU time.
type figure struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	CPU     float64 `json:"cpu"`      // user and system time, in seconds
	Elapsed float64 `json:"elapsed"`  // in seconds
	PeakMiB float64 `json:"peak_mib"` // the largest resident set of all runs; 0 if unknown

	command []string
}

// maxMiB is the largest size of the input.
const maxMiB = 1 << 20

// validate checks the flags, before minutes are spent on runs whose figures are of no use.
func (c *comparison) validate() error {
	switch {
	case c.MiB < 1 || c.MiB > maxMiB:
		return fmt.Errorf("-mib %d: the size must be from 1 to %d", c.MiB, maxMiB)
	case c.Runs < 1:
		return fmt.Errorf("-runs %d: each contestant must run at least once", c.Runs)
	}
	if c.benthos != "" {
		if _, err := exec.LookPath(c.benthos); err != nil {
			return fmt.Errorf("-benthos: %w", err)
		}
	}
	if c.results == "" {
		return nil
	}
	switch info, err := os.Stat(filepath.Dir(c.results)); {
	case err != nil:
		return fmt.Errorf("-o: %w", err)
	case !info.IsDir():
		return fmt.Errorf("-o %s: %s is no directory", c.results, filepath.Dir(c.results))
	}
	if info, err := os.Stat(c.results); err == nil && info.IsDir() {
		return fmt.Errorf("-o %s is a directory", c.results)
	}
	return nil
}

func (c *comparison) run() error {
	if err := c.validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "funnel-load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	in := filepath.Join(dir, "input.jsonl")
	if c.Lines, err = makeInput(in, c.MiB<<20); err != nil {
		return err
	}
	if err := c.addFigures(); err != nil {
		return err
	}
	for range c.Runs {
		for _, f := range c.Figures {
			if err := c.measure(f, in, dir); err != nil {
				return fmt.Errorf("%s: %w", f.Title, err)
			}
		}
	}
	fmt.Print(c.table())
	if c.results == "" {
		return nil
	}
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(c.results, append(text, '\n'), 0o644)
}

// addFigures makes a figure for each contestant.
func (c *comparison) addFigures() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, who := range contestants {
		c.Figures = append(c.Figures, &figure{Name: who.name, Title: who.title, command: []string{self, "-as", who.name}})
	}
	if c.benthos != "" {
		c.Figures = append(c.Figures, &figure{Name: "benthos", Title: "Benthos", command: []string{c.benthos}})
	}
	c.Go, c.CPUs = runtime.Version(), runtime.NumCPU()
	return nil
}

// measure runs a contestant, and checks what it has written.
func (c *comparison) measure(f *figure, in, dir string) error {
	out := filepath.Join(dir, f.Name)
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(out) }()
	fmt.Fprintln(os.Stderr, "running:", f.Title)

	cmd := exec.Command(f.command[0], append(f.command[1:], in, out)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	elapsed := time.Since(begin).Seconds()
	if cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(); f.CPU == 0 || cpu < f.CPU {
		f.CPU, f.Elapsed = cpu, elapsed
	}
	f.PeakMiB = max(f.PeakMiB, peakMiB(cmd.ProcessState))
	return check(c.Lines, out)
}

// table returns the figures as a table, with their ratio to the loop.
func (c *comparison) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %d MiB of JSON Lines, %d events | CPU time | relative to the loop | elapsed | peak memory |\n|---|--:|--:|--:|--:|\n", c.MiB, c.Lines)
	for _, f := range c.Figures {
		fmt.Fprintf(&b, "| %s | %.1f s | %.2f× | %.1f s | %.0f MiB |\n", f.Title, f.CPU, f.CPU/c.Figures[0].CPU, f.Elapsed, f.PeakMiB)
	}
	return b.String()
}

// render puts the published figures into the document.
func render() error {
	text, err := os.ReadFile(resultsFile)
	if err != nil {
		return err
	}
	var c comparison
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", resultsFile, err)
	}
	return report.Replace(document, "load", fmt.Sprintf("%s\nEach figure is that of the run with the least CPU time, of %d. Measured with %s with %d CPUs.\n",
		c.table(), c.Runs, c.Go, c.CPUs))
}
