package funneltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wantSame fails the test, with the difference, unless got is want.
func wantSame(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s differ (- missing, + unexpected):\n%s", what, diff(got, want))
	}
}

// diff returns a line for each text: with a minus if it is only in want, with a plus if it
// is only in got.
func diff(got, want []string) string {
	// common[i][k] is the length of the longest common subsequence of got[i:] and want[k:].
	common := make([][]int, len(got)+1)
	for i := range common {
		common[i] = make([]int, len(want)+1)
	}
	for i := len(got) - 1; i >= 0; i-- {
		for k := len(want) - 1; k >= 0; k-- {
			if got[i] == want[k] {
				common[i][k] = common[i+1][k+1] + 1
			} else {
				common[i][k] = max(common[i+1][k], common[i][k+1])
			}
		}
	}
	var b strings.Builder
	line := func(mark byte, text string) { fmt.Fprintf(&b, "  %c %s\n", mark, visible(text)) }
	i, k := 0, 0
	for i < len(got) || k < len(want) {
		switch {
		case i < len(got) && k < len(want) && got[i] == want[k]:
			line(' ', got[i])
			i++
			k++
		case k < len(want) && (i == len(got) || common[i][k+1] >= common[i+1][k]):
			line('-', want[k])
			k++
		default:
			line('+', got[i])
			i++
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// visible quotes a text if something in it would be hard to see.
func visible(text string) string {
	quoted := fmt.Sprintf("%q", text)
	if text == "" || quoted != `"`+text+`"` || strings.TrimSpace(text) != text {
		return quoted
	}
	return text
}
