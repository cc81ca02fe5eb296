package parquet_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	pq "github.com/parquet-go/parquet-go"
)

// event is a row of the benchmark.
type event struct {
	ID     int64     `parquet:"id"`
	At     time.Time `parquet:"at,timestamp"`
	User   string    `parquet:"user"`
	Kind   string    `parquet:"kind,dict"`
	Amount float64   `parquet:"amount"`
	Note   *string   `parquet:"note"`
}

// BenchmarkSource compares a source with loops of the library over the same file: one that
// makes a map of each row, and one that only reads the values.
func BenchmarkSource(b *testing.B) {
	const n = 200_000
	rows := make([]event, n)
	kinds := []string{"view", "click", "order", "return"}
	for i, item := range items(1, n) {
		rows[i] = event{item.ID, time.UnixMilli(item.ID), item.Name, kinds[i%4], float64(i) / 7, nil}
		if i%2 == 0 {
			rows[i].Note = &rows[i].User
		}
	}
	path := save(b, b.TempDir(), "a", encoded(b, rows, pq.Compression(&pq.Snappy), pq.MaxRowsPerRowGroup(n/2)))
	run := func(name string, read func() int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := read(); got != n {
					b.Fatalf("%d rows, want %d", got, n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
		})
	}
	run("source", func() (rows int) {
		s := newSource(b, path, nil)
		must(b, s.Open(context.Background()))
		for {
			recs, err := s.Read(context.Background())
			rows += len(recs)
			if err == io.EOF {
				break
			}
			must(b, err)
		}
		must(b, s.Teardown(context.Background()))
		return rows
	})
	run("loop/maps", func() (rows int) {
		f, err := os.Open(path)
		must(b, err)
		r := pq.NewReader(f)
		for {
			m := make(map[string]any)
			if err := r.Read(&m); err == io.EOF {
				break
			} else {
				must(b, err)
			}
			rows++
		}
		must(b, r.Close())
		must(b, f.Close())
		return rows
	})
	run("loop/values", func() (rows int) {
		f, err := os.Open(path)
		must(b, err)
		r := pq.NewReader(f)
		buf := make([]pq.Row, 256)
		for {
			got, err := r.ReadRows(buf)
			rows += got
			if err == io.EOF {
				break
			}
			must(b, err)
		}
		must(b, r.Close())
		must(b, f.Close())
		return rows
	})
}

// BenchmarkSource_finished reads a file of 100 MB, and opens a source of it again: the file is
// unchanged as far as one can see, or only the checksum of its bytes says so. That is made when
// the file is read, too. The rows are large and not compressed, so that it counts the most.
func BenchmarkSource_finished(b *testing.B) {
	type blob struct {
		ID   int64
		Data []byte
	}
	rng := rand.NewChaCha8([32]byte{})
	rows := make([]blob, 100_000)
	for i := range rows {
		rows[i] = blob{int64(i), make([]byte, 1000)}
		_, _ = rng.Read(rows[i].Data)
	}
	content := encoded(b, rows)
	path := save(b, b.TempDir(), "a", content)
	age(b, path, time.Hour)
	read := func(from opencdc.Position) (last opencdc.Position) {
		s := newSource(b, path, from)
		must(b, s.Open(context.Background()))
		for {
			recs, err := s.Read(context.Background())
			if err == io.EOF {
				break
			}
			must(b, err)
			last = recs[len(recs)-1].Position
		}
		must(b, s.Teardown(context.Background()))
		return last
	}
	last := read(nil)
	run := func(name string, from opencdc.Position, hasRecords bool) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				if (read(from) != nil) != hasRecords {
					b.Fatal("it was not read, or read again")
				}
			}
		})
	}
	run("read", nil, true)
	run("unchanged", last, false)
	age(b, path, time.Minute)
	run("touched", last, false)
}
