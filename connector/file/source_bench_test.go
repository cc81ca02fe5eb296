package file_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/conduitio/funnel/connector/file"
)

// benchSource measures a source that reads a file of at least 32 MiB.
func benchSource(b *testing.B, format file.Format, header string, line func(i int) string) {
	var text strings.Builder
	text.WriteString(header)
	n := 0
	for ; text.Len() < 32<<20; n++ {
		text.WriteString(line(n))
	}
	content := text.String()
	path := write(b, b.TempDir(), "a", content)
	b.Run("source", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			s := newSource(b, path, format, nil)
			must(b, s.Open(context.Background()))
			records := 0
			for {
				recs, err := s.Read(context.Background())
				records += len(recs)
				if err == io.EOF {
					break
				}
				must(b, err)
			}
			if records != n {
				b.Fatalf("%d records, want %d", records, n)
			}
			must(b, s.Teardown(context.Background()))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
	})
	b.Run("loop", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			f, err := os.Open(path)
			must(b, err)
			records, err := bareLoop(f, format)
			must(b, err)
			if records != n {
				b.Fatalf("%d records, want %d", records, n)
			}
			must(b, f.Close())
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
	})
}

// bareLoop reads a file with the same parser, and keeps nothing.
func bareLoop(f *os.File, format file.Format) (records int, err error) {
	r := bufio.NewReaderSize(f, 256<<10)
	if format == file.CSV {
		rows := csv.NewReader(r)
		rows.ReuseRecord = true
		for records = -1; ; records++ {
			if _, err := rows.Read(); err != nil {
				return records, nil
			}
		}
	}
	input := new(bytes.Buffer)
	tokens := jsontext.NewDecoder(input)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records++
		if format == file.Lines {
			continue
		}
		*input = *bytes.NewBuffer(line)
		tokens.Reset(input)
		for err == nil {
			_, err = tokens.ReadToken()
		}
		if err != io.EOF {
			return records, err
		}
	}
}

func BenchmarkSource(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("lines/%d", size), func(b *testing.B) {
			text := strings.Repeat("x", size-1) + "\n"
			benchSource(b, file.Lines, "", func(int) string { return text })
		})
	}
	b.Run("json", func(b *testing.B) {
		benchSource(b, file.JSONLines, "", func(i int) string {
			return fmt.Sprintf(`{"id":%d,"name":"customer %d","email":"customer%d@example.com","active":true,"score":%d.5,"tags":["a","b"],"address":{"city":"Berlin","zip":"10115"}}`+"\n", i, i, i, i%100)
		})
	})
	b.Run("csv", func(b *testing.B) {
		benchSource(b, file.CSV, "id,name,email,active,score\n", func(i int) string {
			return fmt.Sprintf("%d,customer %d,customer%d@example.com,true,\"%d.5\"\n", i, i, i, i%100)
		})
	})
}

// BenchmarkFollow_many opens and reads 2,000 files with two lines each, whose first 5 kB are
// the same or are not.
func BenchmarkFollow_many(b *testing.B) {
	const files = 2000
	for _, isAlike := range []bool{false, true} {
		b.Run(fmt.Sprintf("alike=%t", isAlike), func(b *testing.B) {
			dir := b.TempDir()
			for i := range files {
				head := strings.Repeat("h", 5000)
				if !isAlike {
					head = fmt.Sprint(i, head)
				}
				write(b, dir, fmt.Sprint(i), fmt.Sprintf("%s\n%d\n", head, i))
			}
			var opening time.Duration
			for b.Loop() {
				s, err := file.NewSource(dir, file.Lines, nil, file.WithFollow())
				must(b, err)
				begin := time.Now()
				must(b, s.Open(context.Background()))
				opening += time.Since(begin)
				for records := 0; records < 2*files; {
					recs, err := s.Read(context.Background())
					must(b, err)
					records += len(recs)
				}
				must(b, s.Teardown(context.Background()))
			}
			b.ReportMetric(opening.Seconds()/float64(b.N), "s/Open")
		})
	}
}
