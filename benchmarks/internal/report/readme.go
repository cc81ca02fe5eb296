package report

import (
	"bytes"
	"fmt"
)

// Begin and End are the lines that enclose the tables in a file.
const (
	Begin = "<!-- benchmarks:begin -->"
	End   = "<!-- benchmarks:end -->"
)

// Replace returns the document with text between its lines Begin and End. The document
// must have each of these lines once, in this order.
func Replace(document []byte, text string) ([]byte, error) {
	begin, end := []byte(Begin+"\n"), []byte(End+"\n")
	if n := bytes.Count(document, begin); n != 1 {
		return nil, fmt.Errorf("want one line %q, there are %d", Begin, n)
	}
	if n := bytes.Count(document, end); n != 1 {
		return nil, fmt.Errorf("want one line %q, there are %d", End, n)
	}
	before, rest, _ := bytes.Cut(document, begin)
	_, after, ok := bytes.Cut(rest, end)
	if !ok {
		return nil, fmt.Errorf("the line %q stands before %q", End, Begin)
	}
	return bytes.Join([][]byte{before, begin, []byte("\n" + text + "\n"), end, after}, nil), nil
}
