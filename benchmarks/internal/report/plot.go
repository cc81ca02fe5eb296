package report

import (
	"bytes"
	"errors"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

const (
	plottedCase = "linear" // what the plot shows
	margin      = 10
	fonts       = "Liberation Sans,Arial,Helvetica,sans-serif"
)

// curve describes a series of the plot.
type curve struct {
	series, name string
	color        color.RGBA
	dashes       []vg.Length
	glyph        draw.GlyphDrawer
}

// curves returns the curves of the plot, in the order of the legend.
func curves() []curve {
	return []curve{
		{"watermill", "Watermill", color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, nil, draw.PyramidGlyph{}},
		{"benthos", "Benthos", color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, nil, draw.BoxGlyph{}},
		{suite.Engine, "funnel", color.RGBA{R: 0x00, G: 0x5a, B: 0xb5, A: 0xff}, nil, draw.CircleGlyph{}},
		{suite.Loop, "hand-written loop", color.RGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff}, []vg.Length{4, 3}, draw.RingGlyph{}},
	}
}

// Plot draws the cost per record by batch size as SVG, with logarithmic axes. The same
// points give the same bytes.
func Plot(points []Point) ([]byte, error) {
	p := plot.New()
	styleAxes(p)
	isEmpty := true
	for _, c := range curves() {
		xys := c.points(points)
		if len(xys) == 0 {
			continue
		}
		isEmpty = false
		line, scatter, err := plotter.NewLinePoints(xys)
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: c.color, Width: vg.Points(2), Dashes: c.dashes}
		scatter.GlyphStyle = draw.GlyphStyle{Color: c.color, Radius: vg.Points(3.5), Shape: c.glyph}
		p.Add(line, scatter)
		p.Legend.Add(c.name, line, scatter)
	}
	if isEmpty {
		return nil, errors.New("there is nothing to plot: no points of the case " + plottedCase)
	}
	p.X.Min, p.X.Max = decades(p.X.Min, p.X.Max)
	p.Y.Min, p.Y.Max = decades(p.Y.Min, 8*p.Y.Max) // leaves room for the legend

	canvas := vgsvg.NewWith(vgsvg.UseWH(660, 420))
	p.Draw(draw.Crop(draw.New(canvas), margin, -margin, margin, -margin))
	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return nil, err
	}
	// Viewers without this font have one of the same widths.
	return bytes.ReplaceAll(buf.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:"+fonts)), nil
}

// points returns the points of a curve, from left to right.
func (c curve) points(points []Point) plotter.XYs {
	var xys plotter.XYs
	for _, p := range points {
		if p.Case == plottedCase && p.Series == c.series && p.X > 0 && p.NS > 0 {
			xys = append(xys, plotter.XY{X: float64(p.X), Y: p.NS})
		}
	}
	slices.SortFunc(xys, func(a, b plotter.XY) int { return int(a.X - b.X) })
	return xys
}

func styleAxes(p *plot.Plot) {
	p.Title.Text = "Cost per record"
	p.Title.Padding = 10
	p.X.Label.Text = "records per batch"
	p.Y.Label.Text = "time per record"
	p.X.Tick.Marker = plot.TickerFunc(func(min, max float64) []plot.Tick {
		return ticks(min, max, func(value float64) string { return suite.Thousands(int(value)) })
	})
	p.Y.Tick.Marker = plot.TickerFunc(func(min, max float64) []plot.Tick { return ticks(min, max, timeLabel) })
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Scale = plot.LogScale{}
		axis.Padding = 0
		axis.Label.Padding = 6
		sans(&axis.Label.TextStyle, 13)
		sans(&axis.Tick.Label, 12)
	}
	sans(&p.Title.TextStyle, 16)
	sans(&p.Legend.TextStyle, 13)
	p.Legend.Top = true
	p.Legend.XOffs, p.Legend.YOffs = -28, -18
	p.Legend.Padding = 3
	p.Legend.ThumbnailWidth = 32

	grid := plotter.NewGrid()
	grid.Horizontal.Color = color.Gray{Y: 0xcc}
	grid.Vertical.Color = color.Gray{Y: 0xcc}
	p.Add(grid)
}

func sans(style *text.Style, size vg.Length) {
	style.Font.Variant = "Sans"
	style.Font.Size = size
}

// decades returns the powers of ten that enclose a range.
func decades(min, max float64) (float64, float64) {
	return math.Pow10(int(math.Floor(math.Log10(min)))), math.Pow10(int(math.Ceil(math.Log10(max))))
}

// ticks returns a labelled tick for each power of ten and unlabelled ones in between.
func ticks(min, max float64, label func(float64) string) []plot.Tick {
	var ticks []plot.Tick
	for decade := min; decade <= max; decade *= 10 {
		ticks = append(ticks, plot.Tick{Value: decade, Label: label(decade)})
		for digit := 2.0; digit <= 9; digit++ {
			ticks = append(ticks, plot.Tick{Value: digit * decade})
		}
	}
	return ticks
}

// timeLabel returns a whole number of nanoseconds in the largest unit that fits.
func timeLabel(ns float64) string {
	units := []string{"ns", "µs", "ms", "s"}
	for ns >= 1000 && len(units) > 1 {
		ns, units = ns/1000, units[1:]
	}
	return suite.Thousands(int(ns)) + " " + units[0]
}
