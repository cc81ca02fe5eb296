package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// nuls returns n NULs.
func nuls(n int) string { return strings.Repeat("\x00", n) }

// xs returns n letters.
func xs(n int) string { return strings.Repeat("x", n) }

func TestRepair(t *testing.T) {
	big := strings.Repeat(xs(99)+"\n", file.MaxAppend/50) // two appends
	for i, tt := range []struct {
		format  file.Format
		content string
		want    string // what opening leaves, or the error
		isError bool
	}{
		{file.Lines, "", "", false}, {file.Lines, "torn", "", false}, {file.Lines, "a\n", "a\n", false}, {file.Lines, "a\nto", "a\n", false},
		{file.Lines, "\n", "\n", false}, {file.Lines, "\nto", "\n", false}, {file.Lines, "a\n\nb", "a\n\n", false},
		{file.Lines, big + xs(3*file.MaxAppend), big, false}, {file.Lines, xs(3*file.MaxAppend) + "\n" + xs(2*file.MaxAppend), xs(3*file.MaxAppend) + "\n", false},
		{file.Lines, xs(65536-1) + "\n" + xs(65536), xs(65536-1) + "\n", false}, {file.Lines, xs(3 * file.MaxAppend), "", false},
		// Sectors are missing.
		{file.Lines, nuls(7), "", false}, {file.Lines, "a\n" + nuls(7), "a\n", false}, {file.Lines, "a\n" + nuls(510) + "x\ny\n", "a\n", false},
		{file.JSONLines, "{}\n" + xs(509) + nuls(512) + "x\n{}\n", "{}\n", false}, {file.Records, big + nuls(512-len(big)%512) + "x\n", big, false},
		{file.Lines, big + xs(511-len(big)%512) + "\n" + nuls(512) + strings.Repeat("x\n", 1000), big + xs(511-len(big)%512) + "\n", false},
		{file.Lines, xs(511) + "\n" + nuls(512) + xs(3*file.MaxAppend) + "\n", xs(511) + "\n", false}, {file.Lines, xs(511) + "\n" + xs(512) + nuls(512) + xs(3*file.MaxAppend) + "\n", xs(511) + "\n", false},
		{file.Lines, nuls(1024) + "x\n" + nuls(100), "", false},
		// No crash leaves this.
		{file.Lines, "a\nb\x00\nc\n", "byte 3", true}, {file.Lines, "a\n\x00\nc\n", "byte 2", true}, {file.Lines, "a\nb" + nuls(509) + "x\n", "byte 3", true},
		{file.CSV, "a\n1\x00\n2\n", "byte 3", true},
		// Far from the end nothing is looked at.
		{file.Lines, "a\x00\n" + big, "a\x00\n" + big, false},
		{file.CSV, "", "", false}, {file.CSV, "a", "", false}, {file.CSV, "a\n", "a\n", false}, {file.CSV, "a\n1", "a\n", false}, {file.CSV, "a\n\"1\n2\"\n", "a\n\"1\n2\"\n", false},
		{file.CSV, "a\n\"1\n2\n", "a\n", false}, {file.CSV, "a\n\"1\n2\"", "a\n", false}, {file.CSV, "a\n\"1\"\"\n2\n", "a\n", false}, {file.CSV, "a\n\"1\n\"\"\n2\"\nb", "a\n\"1\n\"\"\n2\"\n", false},
		{file.CSV, "a\n1\"x\n2\n3", "a\n1\"x\n2\n", false}, {file.CSV, "a\n\"\"\n\"\"\"\n", "a\n\"\"\n", false}, {file.CSV, "\"a\"\n1\n\"", "\"a\"\n1\n", false},
		{file.CSV, "\"a", "", false}, {file.CSV, "\ufeff\"a\n", "", false}, {file.CSV, "\ufeff\"a\"\nx", "\ufeff\"a\"\n", false},
		{file.CSV, "a\n\"" + xs(65536-4) + "\"\"\"\n1\n", "a\n\"" + xs(65536-4) + "\"\"\"\n1\n", false}, {file.CSV, "a\n\"" + xs(65536-4) + "\"\n1\n", "a\n\"" + xs(65536-4) + "\"\n1\n", false},
		{file.CSV, "a\n\"" + xs(65536-3) + "\"\n1\n", "a\n\"" + xs(65536-3) + "\"\n1\n", false},
		{file.CSV, "a\n" + xs(65536-3) + ",\"1\n2", "a\n", false}, {file.CSV, "a\n" + xs(65536-3) + "€\"1\n2", "a\n" + xs(65536-3) + "€\"1\n", false},
		{file.CSV, "a\n\"" + xs(17*file.MaxAppend), "a\n", false}, {file.CSV, "a\n\"" + xs(15*file.MaxAppend) + "\n", "a\n", false}, {file.CSV, "a\n\"" + xs(16*file.MaxAppend) + "\n", "byte 2", true},
		{file.CSV, "a\n1\n\"x\"\n" + nuls(504) + "y\n", "a\n1\n\"x\"\n", false}, {file.CSV, "a\n\"x\n" + nuls(507) + "\ny\"\n", "byte 5", true},
		{file.CSV, "a\n\"x\n" + xs(507) + nuls(512) + "\ny\"\nz\n", "a\n", false},
	} {
		var opts []file.DestinationOption
		add := fields("a", "z")
		if tt.format == file.CSV {
			opts = append(opts, columnA)
		} else {
			add = fields()
		}
		path := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(path, []byte(tt.content), 0o644); err != nil {
			t.Fatal(err)
		}
		d := newDestination(t, path, tt.format, opts...)
		err := d.Open(t.Context())
		if tt.isError {
			wantError(t, err, path, tt.want)
			if content(path) != tt.content {
				t.Errorf("%d: the file was changed", i)
			}
			continue
		}
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if got := content(path); got != tt.want {
			t.Errorf("%d: opening leaves %s of %s, want %s", i, quoted(got), quoted(tt.content), quoted(tt.want))
		}
		switch {
		case tt.format == file.Records:
		case tt.format == file.CSV && tt.want == "":
			mustWrite(t, d, add)
			wantContent(t, path, "a\nz\n")
		default:
			mustWrite(t, d, add)
			wantContent(t, path, tt.want+map[file.Format]string{file.CSV: "z", file.Lines: "{}", file.JSONLines: "{}"}[tt.format]+"\n")
		}
		if err := d.Teardown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Whatever is cut off a CSV file, what is left is all its whole records.
func TestRepair_everyPrefix(t *testing.T) {
	columns := file.WithColumns("a", "b\n\"")
	path := filepath.Join(t.TempDir(), "out.csv")
	d := openDestination(t, path, file.CSV, columns)
	ends := []int{0}
	var recs []opencdc.Record
	for i, text := range []string{"x", "\n", "\"\n\"", ",", "\"", "", "\"\"", "\n\n", "a\"b", "\",\"\n"} {
		recs = append(recs, fields("a", text, "b\n\"", fmt.Sprint(i, text)))
	}
	// The header has an end of its own, which the file shows once a row is there.
	mustWrite(t, d, recs[0])
	header := len("a,\"b\n\"\"\"\n")
	ends = append(ends, header, len(content(path)))
	for _, rec := range recs[1:] {
		mustWrite(t, d, rec)
		ends = append(ends, len(content(path)))
	}
	whole := content(path)
	for n := range len(whole) + 1 {
		path := filepath.Join(t.TempDir(), "out.csv")
		if err := os.WriteFile(path, []byte(whole[:n]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := newDestination(t, path, file.CSV, columns).Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, end := range ends {
			if end <= n {
				want = end
			}
		}
		if got := content(path); got != whole[:want] {
			t.Errorf("of %q, %q is left, want %q", whole[:n], got, whole[:want])
		}
	}
}
