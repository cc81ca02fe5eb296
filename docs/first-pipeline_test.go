package docs_test

import (
	"errors"
	"os/signal"
	"time"
	"unicode"

	"github.com/conduitio/funnel/log"
)

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

func main() {
	source := funnel.SliceSource(wordRecord("apple"), wordRecord(""), wordRecord("pear"))
	err := funnel.From("words", source).
		Through("not empty", funnel.Filter(wordIsThere)).
		Through("upper", funnel.Map(wordUpper)).
		To("screen", funnel.DestinationFunc(wordPrint)).
		Run(context.Background())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func wordRecord(word string) opencdc.Record {
	return opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(word)}}
}

func wordIsThere(r opencdc.Record) bool { return len(r.Payload.After.Bytes()) > 0 }

func wordUpper(r opencdc.Record) (opencdc.Record, error) {
	r.Payload.After = opencdc.RawData(bytes.ToUpper(r.Payload.After.Bytes()))
	return r, nil
}

func wordPrint(_ context.Context, records []opencdc.Record) error {
	for _, r := range records {
		fmt.Printf("%s: %s\n", r.Position, r.Payload.After.Bytes())
	}
	return nil
}

func Example_firstPipeline() {
	main()
	// Output:
	// 0: APPLE
	// 2: PEAR
}

func wordCheck(r opencdc.Record) (opencdc.Record, error) {
	if bytes.ContainsFunc(r.Payload.After.Bytes(), unicode.IsDigit) {
		return r, errors.New("a word has no digits")
	}
	return r, nil
}

func wordsToScreen() *funnel.Pipeline {
	return funnel.From("words", funnel.SliceSource(wordRecord("apple"), wordRecord("p3ar"), wordRecord("fig"))).
		Through("check", funnel.Map(wordCheck)).
		To("screen", funnel.DestinationFunc(wordPrint))
}

func Example_firstPipelineNack() {
	fmt.Println(wordsToScreen().Run(context.Background()))
	// Output:
	// 0: apple
	// task "check": record "1" was nacked: a word has no digits
}

func wordRefused(_ context.Context, records []opencdc.Record) error {
	for _, r := range records {
		reason, err := r.Metadata.GetConduitDLQNackError()
		if err != nil {
			return err
		}
		fmt.Printf("refused %s: %s\n", r.Position, reason)
	}
	return nil
}

func Example_firstPipelineDeadLetters() {
	err := wordsToScreen().
		DeadLetters("refused", funnel.DestinationFunc(wordRefused), 100, 10).
		Run(context.Background())
	fmt.Println(err)
	// Output:
	// 0: apple
	// refused 1: a word has no digits
	// 2: fig
	// <nil>
}

func wordShort(r opencdc.Record) bool { return len(r.Payload.After.Bytes()) < 4 }

func wordPrinter(name string) funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, r := range records {
			fmt.Printf("%s: %s\n", name, r.Payload.After.Bytes())
		}
		return nil
	})
}

func Example_firstPipelineFork() {
	err := funnel.From("words", funnel.SliceSource(wordRecord("apple"), wordRecord("fig"))).
		Fork(
			funnel.To("all", wordPrinter("all")),
			funnel.Through("short", funnel.Filter(wordShort)).To("shorts", wordPrinter("shorts")),
		).
		Run(context.Background())
	fmt.Println(err)
	// Unordered output:
	// all: apple
	// all: fig
	// shorts: fig
	// <nil>
}

func wordTicks() <-chan opencdc.Record {
	words := make(chan opencdc.Record)
	go func() {
		for {
			words <- wordRecord("tick")
			time.Sleep(time.Second)
		}
	}()
	return words
}

func wordsUntilInterrupt(words <-chan opencdc.Record, screen funnel.Destination) error {
	worker, err := funnel.From("words", funnel.NewChannelSource(words)).To("screen", screen).Worker()
	if err != nil {
		return err
	}
	interrupt, release := signal.NotifyContext(context.Background(), os.Interrupt)
	defer release()
	stop := context.AfterFunc(interrupt, func() {
		release()                             // the next Ctrl-C kills the program
		_ = worker.Stop(context.Background()) // if it fails, Run tries again and returns the error
	})
	defer stop()
	return worker.Run(context.Background())
}

func Example_firstPipelineInterrupt() {
	err := wordsUntilInterrupt(wordTicks(), funnel.DestinationFunc(func(ctx context.Context, records []opencdc.Record) error {
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		return errors.Join(self.Signal(os.Interrupt), wordPrint(ctx, records))
	}))
	fmt.Println(err)
	// Output:
	// 1: tick
	// <nil>
}

func wordsByHand(ctx context.Context, words funnel.Source, all, shorts, refused funnel.Destination) error {
	logger := log.Nop()                                         // or log.New(yourZerologLogger)
	source := funnel.NewSourceTask("words", words, logger, nil) // nil: no metrics
	check := funnel.NewProcessorTask("check", funnel.Map(wordCheck), logger, nil)
	short := funnel.NewProcessorTask("short", funnel.Filter(wordShort), logger, nil)
	toAll := &funnel.TaskNode{Task: funnel.NewDestinationTask("all", all, logger, nil)}
	toShorts := &funnel.TaskNode{Task: funnel.NewDestinationTask("shorts", shorts, logger, nil)}
	dlq := funnel.NewDLQ("refused", refused, logger, nil, 100, 10)

	first := &funnel.TaskNode{Task: source, Next: []*funnel.TaskNode{{
		Task: check, Next: []*funnel.TaskNode{
			toAll,
			{Task: short, Next: []*funnel.TaskNode{toShorts}},
		},
	}}}
	worker, err := funnel.NewWorker(first, dlq, logger, nil)
	if err != nil {
		return err
	}
	if err := worker.Open(ctx); err != nil {
		return err
	}
	return errors.Join(worker.Do(ctx), worker.Close(context.WithoutCancel(ctx)))
}

func Example_firstPipelineByHand() {
	source := funnel.SliceSource(wordRecord("apple"), wordRecord("p3ar"), wordRecord("fig"))
	err := wordsByHand(context.Background(), source, wordPrinter("all"), wordPrinter("shorts"), funnel.DestinationFunc(wordRefused))
	fmt.Println(err)
	// Unordered output:
	// all: apple
	// refused 1: a word has no digits
	// all: fig
	// shorts: fig
	// <nil>
}
