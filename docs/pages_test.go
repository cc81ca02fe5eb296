package docs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxWords is what one reads in ten minutes, code included.
const maxWords = 2000

// elsewhere names the code of pages about other modules.
var elsewhere = map[string]string{
	"durable.md":   "../connector/file/example_durable_test.go",
	"embedding.md": "../examples/embedding/embedding_test.go",
}

// Each block of Go on a page x.md is in x_test.go, or in the file that elsewhere names, so
// it is compiled and run. Each block of text is output that an example there checks.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	for _, name := range pages {
		t.Run(name, func(t *testing.T) {
			page := read(t, name)
			if n := len(strings.Fields(page)); n > maxWords {
				t.Errorf("the page has %d words, more than %d", n, maxWords)
			}
			checkLinks(t, page)
			blocks := blocksOf(t, page)
			if len(blocks) == 0 {
				return
			}
			file, ok := elsewhere[name]
			if !ok {
				file = strings.TrimSuffix(name, ".md") + "_test.go"
			}
			code := lines(read(t, file))
			for _, b := range blocks {
				switch b.language {
				case "go":
					if !contains(code, b.lines) {
						t.Errorf("line %d: this block is not in the test file:\n%s", b.at, strings.Join(b.lines, "\n"))
					}
				case "text":
					if !contains(uncommented(code), b.lines) {
						t.Errorf("line %d: no example has this output:\n%s", b.at, strings.Join(b.lines, "\n"))
					}
				case "sh":
				default:
					t.Errorf("line %d: a block is of the language %q, want go, text or sh", b.at, b.language)
				}
			}
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lines returns the lines without the space around them, and without empty ones.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// uncommented returns the lines without the marks of comments.
func uncommented(code []string) []string {
	all := make([]string, len(code))
	for i, line := range code {
		all[i] = strings.TrimSpace(strings.TrimPrefix(line, "//"))
	}
	return slices.DeleteFunc(all, func(line string) bool { return line == "" })
}

// contains returns true if the lines of part follow each other in all.
func contains(all, part []string) bool {
	for i := range all {
		if len(part) <= len(all)-i && slices.Equal(all[i:i+len(part)], part) {
			return true
		}
	}
	return len(part) == 0
}

// block is a fenced block of a page.
type block struct {
	at       int // the number of its first line
	language string
	lines    []string
}

func blocksOf(t *testing.T, page string) []block {
	t.Helper()
	var blocks []block
	isInside := false
	for i, line := range strings.Split(page, "\n") {
		language, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !isInside:
			blocks = append(blocks, block{at: i + 1, language: language})
			isInside = true
		case isFence:
			isInside = false
		case isInside:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, lines(line)...)
		}
	}
	if isInside {
		t.Errorf("the block at line %d does not end", blocks[len(blocks)-1].at)
	}
	return blocks
}

// checkLinks checks that the files exist to which a page links.
func checkLinks(t *testing.T, page string) {
	t.Helper()
	for _, part := range strings.Split(page, "](")[1:] {
		link, _, _ := strings.Cut(part, ")")
		file, _, _ := strings.Cut(link, "#")
		if file == "" || strings.Contains(link, "://") {
			continue
		}
		if _, err := os.Stat(filepath.FromSlash(file)); err != nil {
			t.Errorf("the link %q leads nowhere: %v", link, err)
		}
	}
}
