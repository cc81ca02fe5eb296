package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/report"
)

// plotted returns points of all series, in no particular order.
func plotted() []report.Point {
	var points []report.Point
	for series, cost := range map[string]float64{"engine": 8, "loop": 5, "benthos": 700, "watermill": 1_900} {
		for _, x := range []int{1_000, 1, 10, 100, 100_000, 10_000} {
			points = append(points, report.Point{Case: "linear", Series: series, X: x, NS: cost + 20*cost/float64(x)})
		}
	}
	return append(points, report.Point{Case: "filter", Series: "engine", X: 1_000_000, NS: 1e9})
}

func TestPlot(t *testing.T) {
	svg, err := report.Plot(plotted())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Cost per record", "records per batch", "time per record",
		">hand-written loop<", ">funnel<", ">Benthos<", ">Watermill<",
		">1<", ">100,000<", ">1 ns<", ">100 µs<",
	} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("the plot does not have %q", want)
		}
	}
	for _, other := range []string{">1,000,000<", ">1 s<"} {
		if strings.Contains(string(svg), other) {
			t.Errorf("the plot has %q, which is of another case", other)
		}
	}
	for decoder := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Points in another order make the same plot, to the byte.
func TestPlot_deterministic(t *testing.T) {
	first, err := report.Plot(plotted())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if again, err := report.Plot(plotted()); err != nil || !bytes.Equal(again, first) {
			t.Fatalf("the same points make another plot, %v", err)
		}
	}
}

// A plot needs none of the peers, but it needs points.
func TestPlot_few(t *testing.T) {
	svg, err := report.Plot([]report.Point{{Case: "linear", Series: "loop", X: 10, NS: 20}, {Case: "linear", Series: "loop", X: 1_000, NS: 2}})
	if err != nil || !strings.Contains(string(svg), "hand-written loop") || strings.Contains(string(svg), "Benthos") {
		t.Errorf("%s, %v", svg, err)
	}
	if _, err := report.Plot([]report.Point{{Case: "filter", Series: "engine", X: 1, NS: 1}}); err == nil {
		t.Error("no error without points")
	}
}
