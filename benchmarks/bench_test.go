package main

import (
	"fmt"
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

// BenchmarkCases does the work of each case in both ways, an operation being a
// batch. Profiles of one of them show what it does, and nothing of the other.
func BenchmarkCases(b *testing.B) {
	for _, c := range suite.Cases() {
		for _, series := range []string{c.Base, c.Subject} {
			b.Run(name(c.Row, series), func(b *testing.B) {
				s, err := c.Start(b.Context(), series)
				if err != nil {
					b.Fatal(err)
				}
				elapsed, err := s.Run(b.N)
				if err != nil {
					b.Fatal(err)
				}
				allocs, err := s.Allocs(2)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Stop(); err != nil {
					b.Fatal(err)
				}
				records := float64(c.Spec.Records())
				b.ReportMetric(float64(elapsed)/float64(b.N), "ns/op")
				b.ReportMetric(float64(elapsed)/float64(b.N)/records, "ns/record")
				b.ReportMetric(allocs/records, "allocs/record")
			})
		}
	}
}

// name returns a name like linear/1000/engine.
func name(row suite.Row, series string) string {
	return fmt.Sprintf("%s/%d/%s", row.Case, row.X, series)
}

// BenchmarkWaiting runs the pipelines that wait, an operation being all of their
// records.
func BenchmarkWaiting(b *testing.B) {
	for _, w := range suite.WaitingCases() {
		for i, series := range []string{w.Base, w.Subject} {
			b.Run(name(w.Row, series), func(b *testing.B) {
				job := w.Jobs[i]
				for b.Loop() {
					run, err := job.Prepare()
					if err != nil {
						b.Fatal(err)
					}
					if err := run(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed())/float64(b.N*job.Records), "ns/record")
			})
		}
	}
}

// BenchmarkMemory runs a worker for thousands of batches and reports how many
// bytes it keeps.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		bytes, err := suite.Memory(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(bytes[len(bytes)-1]), "bytes")
	}
}
