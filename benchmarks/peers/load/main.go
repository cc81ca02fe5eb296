// Load does the work of ../../load with Benthos. Its arguments are the input and the
// directory of the outputs.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	// The input, the output and the components that every stream needs.
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "load: want the input and the directory of the outputs")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// The broker makes batches, and each output joins the lines of a batch, so that it writes
// once per batch. Of batches of 10 to 1,000 events, one thread or two, and lines that are
// written one by one, this was the fastest. The outputs do not sync.
const config = `
input:
  broker:
    inputs:
      - file:
          paths: [ %[1]q ]
          scanner: { lines: {} }
    batching: { count: 100, period: 100ms }
pipeline:
  threads: 1
  processors:
    - mapping: root = if this.id %% 5 == 0 { deleted() } else { this }
    - mapping: |
        root = this
        root.service = if this.status == 599 { throw("refused") } else { "shop-" + this.service }
output:
  switch:
    cases:
      - check: errored()
        output:
          file: { path: %[3]q, codec: lines }
          processors: [ { archive: { format: lines } } ]
      - output:
          file: { path: %[2]q, codec: lines }
          processors: [ { archive: { format: lines } } ]
`

func run(in, out string) error {
	builder := service.NewStreamBuilder()
	builder.SetLogger(slog.New(slog.DiscardHandler))
	err := builder.SetYAML(fmt.Sprintf(config, in, filepath.Join(out, "events.jsonl"), filepath.Join(out, "refused.jsonl")))
	if err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	return stream.Run(context.Background())
}
