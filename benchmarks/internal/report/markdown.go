package report

import "strings"

// markdown builds a table.
type markdown struct{ strings.Builder }

// row adds a row.
func (m *markdown) row(cells ...string) {
	m.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// rule adds the line below the header row, with the first columns aligned left and the
// others right.
func (m *markdown) rule(left, right int) {
	m.WriteString("|" + strings.Repeat("---|", left) + strings.Repeat("--:|", right) + "\n")
}
