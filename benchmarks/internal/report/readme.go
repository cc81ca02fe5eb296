package report

import (
	"bytes"
	"fmt"
	"os"
)

// Replace puts text into a file, between the lines <!-- name:begin --> and
// <!-- name:end -->. The file must have each of these lines once, in this order.
func Replace(file, name, text string) error {
	document, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if document, err = replace(document, name, text); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, document, 0o644)
}

func replace(document []byte, name, text string) ([]byte, error) {
	begin, end := []byte("<!-- "+name+":begin -->\n"), []byte("<!-- "+name+":end -->\n")
	if n := bytes.Count(document, begin); n != 1 {
		return nil, fmt.Errorf("want one line %q, there are %d", begin, n)
	}
	if n := bytes.Count(document, end); n != 1 {
		return nil, fmt.Errorf("want one line %q, there are %d", end, n)
	}
	before, rest, _ := bytes.Cut(document, begin)
	_, after, ok := bytes.Cut(rest, end)
	if !ok {
		return nil, fmt.Errorf("the line %q stands before %q", end, begin)
	}
	return bytes.Join([][]byte{before, begin, []byte("\n" + text + "\n"), end, after}, nil), nil
}
