package file_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/conduitio/funnel/connector/file"
)

// Compressed files may consist of several parts.
func TestSource_compressedParts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.gz", gzipped(t, "1\n2")+gzipped(t, "")+gzipped(t, "3\n4\n"))
	skippable := "\x51\x2a\x4d\x18\x03\x00\x00\x00abc"
	write(t, dir, "b.zst", skippable+zstandard(t, "5\n6")+skippable+zstandard(t, "7\n"))
	write(t, dir, "c", gzipped(t, ""))
	recs := mustReadAll(t, opened(t, dir, file.Lines, nil))
	if got, want := fmt.Sprint(texts(recs)), "[1 23 4 5 67]"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	for i := range recs {
		if got := texts(mustReadAll(t, opened(t, dir, file.Lines, recs[i].Position))); len(got) != len(recs)-i-1 {
			t.Errorf("after record %d: got %v", i, got)
		}
	}
}

// An incomplete or corrupt file is an error, after the records before it.
func TestSource_brokenCompression(t *testing.T) {
	content := numbered(1, 60_000)
	for name, compress := range map[string]func(testing.TB, string) string{"gzip": gzipped, "zstd": zstandard} {
		whole := compress(t, content)
		for fault, broken := range map[string]string{
			"without its last byte":  whole[:len(whole)-1],
			"without its last tenth": whole[:len(whole)*9/10],
			"only the beginning":     whole[:6],
			"corrupt":                whole[:len(whole)/2] + strings.Repeat("\xaa", 1000) + whole[len(whole)/2+1000:],
			"followed by garbage":    whole + "garbage",
		} {
			t.Run(name+"/"+fault, func(t *testing.T) {
				path := write(t, t.TempDir(), "a", broken)
				s := opened(t, path, file.Lines, nil)
				recs, err := readAll(t, s)
				if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "offset") {
					t.Fatalf("got the error %v after %d records", err, len(recs))
				}
				if fault == "without its last tenth" && len(recs) < 1000 {
					t.Errorf("only %d records", len(recs))
				}
				for i, rec := range texts(recs) {
					if rec != fmt.Sprint(i+1) && fault != "corrupt" { // which shows only at the end
						t.Fatalf("record %d is %q", i, rec)
					}
				}
				if _, again := s.Read(context.Background()); again == nil || again.Error() != err.Error() {
					t.Errorf("then got the error %v", again)
				}
				if len(recs) > 0 {
					_, again := readAll(t, opened(t, path, file.Lines, recs[len(recs)-1].Position))
					if again == nil || again.Error() != err.Error() {
						t.Errorf("after reopening got the error %v, want %v", again, err)
					}
				}
			})
		}
	}
}
