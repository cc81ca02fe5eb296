// Command peers measures what it costs to move a record through the libraries that a Go
// user would embed in place of funnel. It prints a table and writes the figures to a
// file.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
)

func main() {
	out := flag.String("o", "../results/peers.json", "the `file` to write")
	quick := flag.Bool("quick", false, "measure a few short rounds and write no file")
	flag.Parse()
	p := plan{passes: 5, rounds: 5, round: fullRound}
	if *quick {
		p, *out = plan{passes: 1, rounds: 3, round: quickRound}, ""
	}
	if err := run(os.Stdout, *out, p); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// run measures all points, prints the table to w and, if file is not empty, writes the
// file.
func run(w io.Writer, file string, p plan) error {
	points := points()
	if err := measure(points, p); err != nil {
		return err
	}
	if err := printTable(w, points); err != nil || file == "" {
		return err
	}
	return os.WriteFile(file, results(points), 0o644)
}

// points returns the points to measure. The peers take turns.
func points() []*point {
	var points []*point
	add := func(name string, x, batch, destinations int) {
		points = append(points,
			&point{name: name, x: x, batch: batch, destinations: destinations, series: "benthos", start: startBenthos},
			&point{name: name, x: x, batch: batch, destinations: destinations, series: "watermill", start: startWatermill})
	}
	for _, batch := range []int{1, 10, 100, 1_000, 10_000, 100_000} {
		add("linear", batch, batch, 1)
	}
	add("destinations", 2, 1_000, 2)
	return points
}

// printTable prints a row for each pair of points.
func printTable(w io.Writer, points []*point) error {
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "| case | x | %s | %s |\n|---|--:|--:|--:|\n", points[0].series, points[1].series)
	for i := 0; i < len(points); i += 2 {
		p := points[i]
		fmt.Fprintf(&buf, "| %s | %d |", p.name, p.x)
		for _, p := range points[i : i+2] {
			c := p.best()
			fmt.Fprintf(&buf, " %.1f ns, %.2f allocs |", c.ns, c.allocs)
		}
		fmt.Fprintln(&buf)
	}
	_, err := buf.WriteTo(w)
	return err
}

// results returns the points as JSON, one per line.
func results(points []*point) []byte {
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "{\n\t\"environment\": {\"go\": %q, \"os\": %q, \"arch\": %q, \"cpus\": %d},\n\t\"points\": [",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for i, p := range points {
		if i > 0 {
			buf.WriteByte(',')
		}
		c := p.best()
		fmt.Fprintf(&buf, "\n\t\t{\"case\": %q, \"series\": %q, \"x\": %d, \"ns\": %s, \"allocs\": %s}",
			p.name, p.series, p.x, digits(c.ns), digits(c.allocs))
	}
	buf.WriteString("\n\t]\n}\n")
	return buf.Bytes()
}
