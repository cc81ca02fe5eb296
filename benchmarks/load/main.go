// Load measures a pipeline that does real work, from file to file: parse JSON Lines,
// filter every fifth event, change a field, write the rest and sync it, and write refused
// events to a dead-letter queue. Every contestant runs in a process of its own, and all of
// them read the same input. README.md of the parent directory shows the results.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run . -render

// The figures that are published, and where.
const (
	resultsFile = "../results/load.json"
	document    = "../README.md"
)

// contestants do the same work. The program executes itself to run one.
var contestants = []contestant{
	{name: "loop", title: "loop", run: runLoop},
	{name: "funnel", title: "funnel", run: runFunnel},
	{name: "struct", title: "loop, decoding into a struct", run: runStruct},
}

// A contestant reads the file in and writes into the directory out.
type contestant struct {
	name, title string
	run         func(in, out string) error
}

// Every contestant writes these files.
func eventsPath(out string) string  { return filepath.Join(out, "events.jsonl") }
func lettersPath(out string) string { return filepath.Join(out, "refused.jsonl") }

func main() {
	var c comparison
	as := flag.String("as", "", "be this `contestant`; the arguments are the input and the directory of the outputs")
	flag.Int64Var(&c.MiB, "mib", 1024, "the `size` of the input in MiB")
	flag.IntVar(&c.Runs, "runs", 3, "the `number` of runs of each contestant")
	flag.StringVar(&c.benthos, "benthos", "", "also run this `program`, see ../peers/load")
	flag.StringVar(&c.results, "o", "", "write the figures to this `file`")
	rendering := flag.Bool("render", false, "measure nothing: put the figures in "+resultsFile+" into "+document)
	flag.Parse()
	var err error
	switch {
	case *as != "":
		err = be(*as, flag.Args())
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q, see -help", flag.Arg(0))
	case *rendering:
		err = render()
	default:
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// be runs a contestant in this process.
func be(name string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("-as %s needs two arguments, got %d", name, len(args))
	}
	for _, c := range contestants {
		if c.name == name {
			return c.run(args[0], args[1])
		}
	}
	return fmt.Errorf("there is no contestant %q", name)
}
