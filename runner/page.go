package runner

import (
	"crypto/sha256"
	_ "embed" // for the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

//go:embed page.html
var pageSource string

// page is the page for people.
type page struct {
	template *template.Template
	policy   string // its Content-Security-Policy
}

func newPage() *page {
	return &page{
		template: template.Must(template.New("page").Funcs(template.FuncMap{
			"ago":     ago,
			"count":   count,
			"lasting": lasting,
			"rate":    rate,
			"several": several,
			"sign":    sign,
			"span":    span,
			"stamp":   stamp,
			"text":    visible,
		}).Parse(pageSource)),
		policy: policy + "; style-src '" + styleHash(pageSource) + "'",
	}
}

// styleHash returns the hash with which the policy allows the style of the page.
func styleHash(page string) string {
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (p *page) write(w io.Writer, o Overview) error {
	return p.template.Execute(w, struct {
		Overview
		Refresh int // in seconds
	}{o, int(refreshTime.Seconds())})
}

// visible escapes, as Go does, the characters that a browser does not show or that change how
// it shows the text around them, such as control characters and marks of direction.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || unicode.IsGraphic(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// sign returns a sign for a state, so that states can be told apart without colour.
func sign(s State) string {
	switch s {
	case Running:
		return "●"
	case Done:
		return "✓"
	case Stopped:
		return "■"
	case Starting, Draining:
		return "◐"
	case Recovering:
		return "▲"
	default: // Degraded, Stuck
		return "✖"
	}
}

// stamp writes a time as RFC 3339, in UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago says how far t is from now.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	if d <= -time.Second {
		return "in " + span(-d)
	}
	return span(max(d, 0)) + " ago"
}

// lasting says how long ago t was.
func lasting(now, t time.Time) string { return span(max(now.Sub(t), 0)) }

// several returns true if the tasks are not all of one worker.
func several(tasks []TaskStatus) bool {
	return slices.ContainsFunc(tasks, func(t TaskStatus) bool { return t.Worker > 0 })
}

// span writes a duration in one unit, or in two from an hour on.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + span(-max(d, -math.MaxInt64))
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%sd %dh", count(int64(d/day)), d%day/time.Hour)
	}
}

// count writes an integer with a comma between groups of three digits.
func count(n any) string {
	digits := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// rate writes a rate with one decimal if it is below 100.
func rate(perSecond float64) string {
	if perSecond < 100 {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return count(int64(min(math.Round(perSecond), 1e18)))
}
