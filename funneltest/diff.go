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

// maxDiff is the number of texts on each side up to which diff looks for the best match.
const maxDiff = 1000

// diff returns a line for each text: with a minus if it is only in want, with a plus if it
// is only in got. Of long runs of equal texts, it shows only the ends.
func diff(got, want []string) string {
	var b strings.Builder
	line := func(mark byte, text string) { fmt.Fprintf(&b, "  %c %s\n", mark, visible(text)) }
	before := 0
	for before < min(len(got), len(want)) && got[before] == want[before] {
		before++
	}
	after := 0
	for after < min(len(got), len(want))-before && got[len(got)-1-after] == want[len(want)-1-after] {
		after++
	}
	equal := func(texts []string, isBefore bool) {
		const shown = 5
		switch n := len(texts) - shown; {
		case n <= 0:
		case isBefore:
			fmt.Fprintf(&b, "    (%d more)\n", n)
			texts = texts[n:]
		default:
			defer fmt.Fprintf(&b, "    (%d more)\n", n)
			texts = texts[:shown]
		}
		for _, text := range texts {
			line(' ', text)
		}
	}
	equal(got[:before], true)
	diffMiddle(got[before:len(got)-after], want[before:len(want)-after], line)
	equal(got[len(got)-after:], false)
	return strings.TrimSuffix(b.String(), "\n")
}

// diffMiddle calls line for each text.
func diffMiddle(got, want []string, line func(mark byte, text string)) {
	if len(got) > maxDiff || len(want) > maxDiff { // the best match would take too much memory
		several := func(mark byte, texts []string) {
			for _, text := range texts[:min(len(texts), maxDiff)] {
				line(mark, text)
			}
			if n := len(texts) - maxDiff; n > 0 {
				line(mark, fmt.Sprintf("(%d more)", n))
			}
		}
		several('-', want)
		several('+', got)
		return
	}
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
}

// visible quotes a text if something in it would be hard to see.
func visible(text string) string {
	quoted := fmt.Sprintf("%q", text)
	if text == "" || quoted != `"`+text+`"` || strings.TrimSpace(text) != text {
		return quoted
	}
	return text
}
