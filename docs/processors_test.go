package docs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/config"
	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// processLines sends lines through processors, and prints what arrives and what is refused.
func processLines(processors *funnel.Pipeline, lines ...string) error {
	var records []opencdc.Record
	for _, line := range lines {
		records = append(records, opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(line)}})
	}
	printer := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, r := range records {
			fmt.Printf("%s: %s\n", r.Position, r.Payload.After.Bytes())
		}
		return nil
	})
	refused := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, r := range records {
			reason, err := r.Metadata.GetConduitDLQNackError()
			if err != nil {
				return err
			}
			fmt.Printf("%s: refused, %s\n", r.Position, reason)
		}
		return nil
	})
	return funnel.From("lines", funnel.SliceSource(records...)).
		Then(processors).
		To("printer", printer).
		DeadLetters("refused", refused, 0, 0). // takes any number of nacks
		Run(context.Background())
}

func processIsData(r opencdc.Record) bool {
	return !bytes.HasPrefix(r.Payload.After.Bytes(), []byte("#"))
}

func processWords(r opencdc.Record) ([]opencdc.Record, error) {
	var pieces []opencdc.Record
	for _, word := range bytes.Fields(r.Payload.After.Bytes()) {
		r.Payload.After = opencdc.RawData(word)
		pieces = append(pieces, r)
	}
	return pieces, nil
}

func processUpper(r opencdc.Record) (opencdc.Record, error) {
	word := r.Payload.After.Bytes()
	if bytes.ContainsAny(word, "0123456789") {
		return r, errors.New("a word has no digits")
	}
	r.Payload.After = opencdc.RawData(bytes.ToUpper(word))
	return r, nil
}

func Example_processors() {
	err := processLines(funnel.
		Through("data", funnel.Filter(processIsData)).
		Through("words", funnel.Split(processWords)).
		Through("upper", funnel.Map(processUpper)),
		"apple fig", "# fruit", "p3ar plum", "", "cherry")
	fmt.Println(err)
	// Output:
	// 0: APPLE
	// 0: FIG
	// 2: refused, a word has no digits
	// 4: CHERRY
	// <nil>
}

func processAny(_ context.Context, r opencdc.Record) sdk.ProcessedRecord {
	switch line := r.Payload.After.Bytes(); {
	case len(line) == 0:
		return sdk.FilterRecord{}
	case line[0] == '?':
		return sdk.ErrorRecord{Error: errors.New("unknown")}
	case line[0] == '+':
		return sdk.MultiRecord{r.Clone(), r.Clone()} // pieces with maps of their own
	default:
		return sdk.SingleRecord(r)
	}
}

func Example_processorsFunc() {
	err := processLines(funnel.Through("any", funnel.ProcessorFunc(processAny)), "apple", "", "?", "+fig")
	fmt.Println(err)
	// Output:
	// 0: apple
	// 2: refused, unknown
	// 3: +fig
	// 3: +fig
	// <nil>
}

var errProcessBusy = errors.New("the service is busy")

// processPrices is a service that is busy at first.
type processPrices struct{ calls, freeAt int }

func (s *processPrices) price(_ context.Context, item string) (int, error) {
	if s.calls++; s.calls < s.freeAt {
		return 0, errProcessBusy
	}
	if item == "" {
		return 0, errors.New("no item")
	}
	return len(item), nil
}

func processWithPrice(service *processPrices) funnel.Processor {
	return funnel.ProcessorFunc(func(ctx context.Context, r opencdc.Record) sdk.ProcessedRecord {
		item := string(r.Payload.After.Bytes())
		price, err := service.price(ctx, item)
		switch {
		case errors.Is(err, errProcessBusy):
			return nil // no answer yet
		case err != nil:
			return sdk.ErrorRecord{Error: err}
		}
		r.Payload.After = opencdc.RawData(fmt.Sprint(item, " costs ", price))
		return sdk.SingleRecord(r)
	})
}

func Example_processorsRetry() {
	service := &processPrices{freeAt: 100}
	err := processLines(funnel.
		Through("price", processWithPrice(service)).
		Options(funnel.WithRetryPolicy(funnel.RetryPolicy{MaxCalls: 100, MaxPause: 2 * time.Millisecond})),
		"apple", "", "fig")
	fmt.Println(err)
	// Output:
	// 0: apple costs 5
	// 1: refused, no item
	// 2: fig costs 3
	// <nil>
}

func processSlowly(r opencdc.Record) (opencdc.Record, error) {
	time.Sleep(10 * time.Millisecond) // a call over the network
	return processUpper(r)
}

func Example_processorsParallel() {
	slow, err := funnel.NewParallelProcessor(funnel.Concurrent(funnel.Map(processSlowly)), 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = processLines(funnel.Through("slow", slow), "apple", "p3ar", "fig")
	fmt.Println(err)
	// Output:
	// 0: APPLE
	// 1: refused, a word has no digits
	// 2: FIG
	// <nil>
}

// processDeny refuses the words of a file.
type processDeny struct {
	path  string
	words []string
}

func (p *processDeny) Open(context.Context) error {
	text, err := os.ReadFile(p.path)
	p.words = strings.Fields(string(text))
	return err
}

func (p *processDeny) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(records))
	for i, r := range records {
		if slices.Contains(p.words, string(r.Payload.After.Bytes())) {
			results[i] = sdk.ErrorRecord{Error: errors.New("denied")}
		} else {
			results[i] = sdk.SingleRecord(r)
		}
	}
	return results
}

func (p *processDeny) Teardown(context.Context) error { return nil }

// processFile returns the path of a new file.
func processFile(text string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	path = filepath.Join(dir, "deny.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		panic(err)
	}
	return path, func() { _ = os.RemoveAll(dir) }
}

func Example_processorsStruct() {
	path, remove := processFile("pear plum")
	defer remove()

	err := processLines(funnel.Through("deny", &processDeny{path: path}), "apple", "pear", "fig")
	fmt.Println(err)
	// Output:
	// 0: apple
	// 1: refused, denied
	// 2: fig
	// <nil>
}

func processUpperSDK(_ context.Context, r opencdc.Record) (opencdc.Record, error) {
	return processUpper(r)
}

func Example_processorsSDK() {
	upper := sdk.NewProcessorFunc(sdk.Specification{Name: "upper"}, processUpperSDK)
	err := processLines(funnel.Through("upper", funnel.FromSDK(upper, config.Config{})), "apple", "p3ar", "fig")
	fmt.Println(err)

	err = processLines(funnel.Through("upper", funnel.FromSDK(upper, config.Config{"case": "title"})), "apple")
	fmt.Println(err)
	// Output:
	// 0: APPLE
	// 1: refused, a word has no digits
	// 2: FIG
	// <nil>
	// task "upper": failed to open: the settings of the processor "upper" are invalid: "case": unrecognized parameter
}

func processAddID(r opencdc.Record) (opencdc.Record, error) {
	id := r.Metadata[funnel.MetadataPieceID]
	r.Payload.After = opencdc.RawData(fmt.Sprintf("%s has the ID %q", r.Payload.After.Bytes(), id))
	return r, nil
}

func Example_processorsPieceIDs() {
	err := processLines(funnel.
		Through("words", funnel.Split(processWords)).
		Through("add ID", funnel.Map(processAddID)).
		Options(funnel.WithPieceIDs()),
		"apple fig", "cherry")
	fmt.Println(err)
	// Output:
	// 0: apple has the ID "0"
	// 0: fig has the ID "1"
	// 1: cherry has the ID ""
	// <nil>
}

// processVersion stops the pipeline at a line of a new version, and filters empty lines.
type processVersion struct{}

func (processVersion) ID() string                  { return "version" }
func (processVersion) Open(context.Context) error  { return nil }
func (processVersion) Close(context.Context) error { return nil }

func (processVersion) Do(_ context.Context, batch *funnel.Batch) error {
	for i, r := range slices.Backward(batch.ActiveRecords()) {
		switch string(r.Payload.After.Bytes()) {
		case "":
			batch.Filter(i)
		case "v2":
			return funnel.FatalError(errors.New("version 2 is not known"))
		}
	}
	return nil
}

func Example_processorsTask() {
	err := processLines(funnel.Step(processVersion{}), "apple", "", "fig")
	fmt.Println(err)

	err = processLines(funnel.Step(processVersion{}), "apple", "v2", "fig")
	fmt.Println(err, funnel.IsFatalError(err))
	// Output:
	// 0: apple
	// 2: fig
	// <nil>
	// task "version": version 2 is not known true
}
