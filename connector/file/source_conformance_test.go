package file_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/funneltest"
)

func TestSource_conformance(t *testing.T) {
	contents := map[file.Format]string{file.CSV: "n,text\n"}
	for i := range 12 {
		contents[file.Lines] += fmt.Sprintf("line %d\n", i)
		contents[file.JSONLines] += fmt.Sprintf("{\"n\":%d,\"in\":{\"list\":[\"text %d\"]}}\n", i, i)
		contents[file.CSV] += fmt.Sprintf("%d,text %d\n", i, i)
		contents[file.Records] += fmt.Sprintf("{\"key\":{\"n\":%d},\"metadata\":{\"m\":\"v %d\"},\"payload\":{\"after\":\"YWJj\"}}\n", i, i)
	}
	for format, content := range contents {
		for _, isFollowed := range []bool{false, true} {
			for _, compressed := range []bool{false, true} {
				opts := []file.SourceOption{file.WithBatch(3, 1<<20)}
				if isFollowed {
					opts = append(opts, file.WithFollow(), file.WithPollPeriod(10*time.Millisecond))
				}
				name := fmt.Sprintf("%s/follow_%t/gzip_%t", strings.ReplaceAll(format.String(), " ", "_"), isFollowed, compressed)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					funneltest.TestSource(t, funneltest.SourceConformance{
						New: func(t testing.TB) funnel.Source {
							dir := t.TempDir()
							head := strings.Index(content, "\n") + 1
							if format != file.CSV {
								head = 0
							}
							half := head + strings.Index(content[head:], "\n") + 1
							first, second := content[:half], content[:head]+content[half:]
							if compressed {
								first, second = gzipped(t, first), zstandard(t, second)
							}
							age(t, write(t, dir, "1", first))
							age(t, write(t, dir, "2", second))
							return newSource(t, dir, format, nil, opts...)
						},
						Records:       12,
						AckDuringRead: true,
						Timeout:       4 * time.Second,
					})
				})
			}
		}
	}
}

// A source made with the last acked position resumes there.
func TestSource_resumesAtPosition(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "1\n2\n3\n")
	write(t, dir, "b", gzipped(t, "4\n5\n6\n"))
	write(t, dir, "c", zstandard(t, "7\n8\n9"))
	all := mustReadAll(t, opened(t, dir, file.Lines, nil))
	for i := -1; i < len(all); i++ {
		var from opencdc.Position
		if i >= 0 {
			from = all[i].Position
		}
		got := texts(mustReadAll(t, opened(t, dir, file.Lines, from)))
		if want := "[4 5 6 7 8 9]"; i == 2 && fmt.Sprint(got) != want {
			t.Errorf("after record %d: got %v, want %v", i, got, want)
		}
		if len(got) != len(all)-i-1 {
			t.Errorf("after record %d: got %v", i, got)
		}
	}
}
