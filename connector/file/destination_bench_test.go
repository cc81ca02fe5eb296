package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/disk"
)

// benchRecords returns records of some 200 bytes of JSON.
func benchRecords(n int) []opencdc.Record {
	var recs []opencdc.Record
	for i := range n {
		rec := fields("id", int64(i), "name", fmt.Sprint("customer ", i), "amount", 12.5, "currency", "EUR", "active", true,
			"address", map[string]any{"street": "1 Long Street", "city": "Berlin", "zip": "10115"}, "tags", []any{"a", "b", "c"})
		rec.Metadata = opencdc.Metadata{"table": fmt.Sprint("t", i%10)}
		recs = append(recs, rec)
	}
	return recs
}

// BenchmarkDestination writes batches of 1,000 records: with a destination, and with a loop
// that has the same encoder, one write and one sync for each batch.
func BenchmarkDestination(b *testing.B) {
	recs := benchRecords(1000)
	columns := file.WithColumns("id", "name", "amount", "currency", "active", "address", "tags")
	for _, c := range []struct {
		name   string
		path   string
		format file.Format
		opts   []file.DestinationOption
	}{
		{"json", "out.jsonl", file.JSONLines, nil},
		{"json_nosync", "out.jsonl", file.JSONLines, []file.DestinationOption{file.WithoutSync()}},
		{"json_10_files", "{{metadata:table}}.jsonl", file.JSONLines, nil},
		{"csv_nosync", "out.csv", file.CSV, []file.DestinationOption{columns, file.WithoutSync()}},
		{"records_nosync", "out.jsonl", file.Records, []file.DestinationOption{file.WithoutSync()}},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := openDestination(b, filepath.Join(b.TempDir(), c.path), c.format, c.opts...)
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Write(b.Context(), recs); err != nil {
					b.Fatal(err)
				}
				if acks, err := d.Ack(b.Context()); err != nil || len(acks) != len(recs) {
					b.Fatal(len(acks), err)
				}
			}
			reportRecords(b, len(recs))
		})
	}
	for _, isSynced := range []bool{true, false} {
		name := map[bool]string{true: "json_loop", false: "json_loop_nosync"}[isSynced]
		b.Run(name, func(b *testing.B) {
			f, err := disk.OS.OpenFile(filepath.Join(b.TempDir(), "out"), os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			encode := file.NewEncoder(file.JSONLines)
			var text []byte
			offset := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				text = text[:0]
				for i := range recs {
					if text, err = encode(text, &recs[i]); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := f.WriteAt(text, offset); err != nil {
					b.Fatal(err)
				}
				offset += int64(len(text))
				if isSynced {
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			}
			reportRecords(b, len(recs))
		})
	}
}

func reportRecords(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed())/float64(b.N*n)/float64(time.Nanosecond), "ns/record")
}

// A Write of many records costs a handful of allocations.
func TestDestination_allocations(t *testing.T) {
	recs := benchRecords(1000)
	for path, limit := range map[string]float64{"out.jsonl": 8, "{{metadata:table}}.jsonl": 60} { // ten files
		d := openDestination(t, filepath.Join(t.TempDir(), path), file.JSONLines, file.WithoutSync())
		allocs := testing.AllocsPerRun(20, func() { mustWrite(t, d, recs...) })
		if allocs > limit {
			t.Errorf("%s: a Write of 1,000 records costs %v allocations", path, allocs)
		}
	}
}
