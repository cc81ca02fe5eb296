package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/report"
)

const (
	begin = "<!-- figures:begin -->"
	end   = "<!-- figures:end -->"
)

func TestReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	write(t, file, "# Title\n\n"+begin+"\n"+"old\n"+end+"\nrest\n")
	const want = "# Title\n\n" + begin + "\n\n" + "new\n\n" + end + "\nrest\n"
	for range 2 { // the second time changes nothing
		if err := report.Replace(file, "figures", "new\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestReplace_markers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	for name, tc := range map[string]struct{ document, want string }{
		"no begin":   {end + "\n", begin},
		"no end":     {begin + "\n", end},
		"two":        {begin + "\n" + begin + "\n" + end + "\n", begin},
		"reversed":   {end + "\n" + begin + "\n", "before"},
		"in a line":  {"say " + begin + " here\n" + end + "\n", begin},
		"other name": {"<!-- others:begin -->\n<!-- others:end -->\n", begin},
	} {
		write(t, file, tc.document)
		err := report.Replace(file, "figures", "new\n")
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got the error %v, want one with %q and the name of the file", name, err, tc.want)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != tc.document {
			t.Errorf("%s: the file has changed to %q, %v", name, got, err)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
