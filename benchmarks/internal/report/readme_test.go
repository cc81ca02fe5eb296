package report_test

import (
	"strings"
	"testing"

	"github.com/conduitio/funnel/benchmarks/internal/report"
)

func TestReplace(t *testing.T) {
	const document = "# Title\n\n" + report.Begin + "\n" + "old\n" + report.End + "\nrest\n"
	const want = "# Title\n\n" + report.Begin + "\n\n" + "new\n\n" + report.End + "\nrest\n"
	got := []byte(document)
	for range 2 { // the second time changes nothing
		var err error
		if got, err = report.Replace(got, "new\n"); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestReplace_markers(t *testing.T) {
	for name, tc := range map[string]struct{ document, want string }{
		"no begin":  {report.End + "\n", report.Begin},
		"no end":    {report.Begin + "\n", report.End},
		"two":       {report.Begin + "\n" + report.Begin + "\n" + report.End + "\n", report.Begin},
		"reversed":  {report.End + "\n" + report.Begin + "\n", "before"},
		"in a line": {"say " + report.Begin + " here\n" + report.End + "\n", report.Begin},
	} {
		if _, err := report.Replace([]byte(tc.document), "new\n"); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got the error %v, want one with %q", name, err, tc.want)
		}
	}
}
