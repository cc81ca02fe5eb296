package report

import "strings"

// markdown is a table in the making.
type markdown struct{ strings.Builder }

// row adds a row.
func (m *markdown) row(cells ...string) {
	m.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// rule adds the line below the first row: the first columns left, the others
// right aligned.
func (m *markdown) rule(left, right int) {
	m.WriteString("|" + strings.Repeat("---|", left) + strings.Repeat("--:|", right) + "\n")
}
