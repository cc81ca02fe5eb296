package funnel_test

import (
	"os"
	"strings"
	"testing"
)

// The code in README.md is taken from an example, which is compiled and run.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_pipeline_test.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	blocks := strings.Split(string(readme), "```go\n")
	for _, block := range blocks[1:] {
		code, _, _ := strings.Cut(block, "```")
		if strings.HasPrefix(code, "import") || strings.HasPrefix(code, "set :=") {
			continue // an import, or a few lines that need a host
		}
		if checked++; !strings.Contains(string(example), code) {
			t.Errorf("this is not in example_pipeline_test.go:\n%s", code)
		}
	}
	if checked < 4 {
		t.Errorf("README.md has %d blocks of the example, want its pipeline, how it runs, a destination and the test", checked)
	}
}
