package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// Tables returns the results as Markdown: the cases with a target, compared to the loop
// or to the engine itself, and how the cost grows. It leaves out what was not measured.
func Tables(r *Results) string {
	var loop, engine []suite.Row
	for _, row := range suite.Rows() {
		switch {
		case row.Base != suite.Loop:
			engine = append(engine, row)
		case row.Target.IsSet():
			loop = append(loop, row)
		}
	}
	return paragraphs(
		r.table("loop", "engine", loop),
		r.table("without", "with", engine),
		r.memory(),
		r.growth(),
		r.environment(),
	)
}

// Headlines returns a short table of the results as Markdown.
func Headlines(r *Results) string {
	return paragraphs(r.table("loop", "engine", suite.Headlines()), r.environment())
}

// paragraphs joins the non-empty parts.
func paragraphs(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return strings.Join(parts, "\n")
}

// table returns a table that compares the series of each row.
func (r *Results) table(base, subject string, rows []suite.Row) string {
	var m markdown
	for _, row := range rows {
		c, ok := r.Comparison(row)
		if !ok {
			continue
		}
		if m.Len() == 0 {
			m.row("per record", base, subject, "difference", "target", "allocations")
			m.rule(1, 5)
		}
		allocs := allocations(c.Subject.Allocs)
		if row.Target.Speedup > 0 {
			allocs = ""
		}
		m.row(row.Title, nanoseconds(c.Base.NS), nanoseconds(c.Subject.NS), difference(row.Target, c), verdict(row.Target, c), allocs)
	}
	return m.String()
}

// difference formats a comparison in the terms of its target.
func difference(t suite.Target, c measure.Comparison) string {
	switch {
	case t.Speedup > 0:
		return significant(1/c.Ratio) + "× as fast"
	case t.More > 0 && t.MoreAllocs > 0:
		return fmt.Sprintf("%s, %s allocs", signed(nanoseconds(c.More)), signed(thousandths(c.Subject.Allocs-c.Base.Allocs)))
	case t.More > 0:
		return signed(nanoseconds(c.More))
	default:
		return significant(c.Ratio) + "×"
	}
}

// signed puts a plus before a number without a sign.
func signed(number string) string {
	if strings.HasPrefix(number, "-") {
		return number
	}
	return "+" + number
}

// verdict formats a target and whether it is met.
func verdict(t suite.Target, c measure.Comparison) string {
	switch {
	case !t.IsSet():
		return ""
	case t.IsMet(c):
		return t.String() + " ✓"
	default:
		return t.String() + " ✗"
	}
}

// memory formats how much memory a worker keeps.
func (r *Results) memory() string {
	var kept []string
	for _, n := range suite.MemoryBatches {
		if p, ok := r.find(suite.MemoryCase, suite.Engine, n); ok {
			kept = append(kept, fmt.Sprintf("%s after %s", kibibytes(p.Bytes), suite.Thousands(n)))
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return fmt.Sprintf("Memory of a worker, whose batches are of mixed sizes up to 1,000: %s batches.\n", strings.Join(kept, ", "))
}

// environment formats where the results were measured.
func (r *Results) environment() string {
	if len(r.Points) == 0 {
		return ""
	}
	e := r.Environment
	return fmt.Sprintf("Batches have 1,000 records unless stated otherwise. Measured with %s on %s/%s with %d CPUs.\n",
		e.Go, e.OS, e.Arch, e.CPUs)
}

// growth returns a table that shows how costs grow: those of the loop, the engine and,
// where they were measured, the peers.
func (r *Results) growth() string {
	const columns = 6
	var m markdown
	for _, g := range suite.Growths() {
		header, loop, engine := []string{g.Title}, []string{"loop"}, []string{"engine"}
		for _, row := range g.Rows {
			if c, ok := r.Comparison(row); ok {
				header = append(header, suite.Thousands(row.X)+g.Unit)
				loop = append(loop, nanoseconds(c.Base.NS))
				engine = append(engine, nanoseconds(c.Subject.NS))
			}
		}
		if len(header) == 1 {
			continue
		}
		rows := [][]string{header, loop, engine}
		for _, peer := range peers {
			if cells := r.peerRow(peer, g.Rows); cells != nil {
				rows = append(rows, cells)
			}
		}
		isFirst := m.Len() == 0
		for _, cells := range rows {
			for len(cells) <= columns {
				cells = append(cells, "")
			}
			if !isFirst && cells[0] == g.Title {
				cells[0] = "**" + cells[0] + "**"
			}
			m.row(cells...)
			if isFirst {
				m.rule(1, columns)
				isFirst = false
			}
		}
	}
	return m.String()
}

// peer is the series of another library.
type peer struct{ series, name string }

var peers = []peer{{"benthos", "Benthos"}, {"watermill", "Watermill"}}

// peerRow returns the costs of a peer for the rows that have a comparison, or nil if
// they were not measured.
func (r *Results) peerRow(peer peer, rows []suite.Row) []string {
	cells, isMeasured := []string{peer.name}, false
	for _, row := range rows {
		if _, ok := r.Comparison(row); !ok {
			continue
		}
		p, ok := r.find(row.Case, peer.series, row.X)
		if !ok {
			cells = append(cells, "")
			continue
		}
		cells, isMeasured = append(cells, nanoseconds(p.NS)), true
	}
	if !isMeasured {
		return nil
	}
	return cells
}
