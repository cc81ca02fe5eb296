package funnel_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// kept is a destination that keeps records, and a source of them.
type kept struct{ records []opencdc.Record }

func (k *kept) destination() funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		k.records = append(k.records, records...)
		return nil
	})
}

func (k *kept) source() funnel.Source { return funnel.SliceSource(k.records...) }

// greetings returns a pipeline that greets people, but only those whom it knows. It nacks
// the others.
func greetings(people funnel.Source, known string) *funnel.Pipeline {
	return funnel.From("people", people).
		Through("shout", funnel.Map(func(record opencdc.Record) (opencdc.Record, error) {
			record.Payload.After = opencdc.RawData(strings.ToUpper(string(record.Payload.After.Bytes())) + "!")
			return record, nil
		})).
		Through("check", funnel.Map(func(record opencdc.Record) (opencdc.Record, error) {
			if !strings.Contains(known, string(record.Payload.After.Bytes())) {
				return record, fmt.Errorf("do not know %s", record.Payload.After.Bytes())
			}
			return record, nil
		})).
		To("out", funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
			for _, record := range records {
				fmt.Printf("hello, %s\n", record.Payload.After.Bytes())
			}
			return nil
		}))
}

func people(names ...string) funnel.Source {
	var records []opencdc.Record
	for _, name := range names {
		records = append(records, opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(name)}})
	}
	return funnel.SliceSource(records...)
}

// Once the cause is fixed, dead letters go through the pipeline again. They hold the records
// as they were read, so no task gets its own result again.
func ExampleNewReplaySource() {
	ctx := context.Background()
	var refused, refusedAgain kept
	err := greetings(people("ann", "bob", "eve"), "ANN!").
		DeadLetters("refused", refused.destination(), 0, 0).
		Options(funnel.WithDeadLettersAsRead()).
		Run(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(refused.records), "dead letters")

	replay := funnel.NewReplaySource(refused.source(), funnel.VersionAsRead)
	err = greetings(replay, "ANN! BOB!").
		DeadLetters("refused again", refusedAgain.destination(), 0, 0).
		Run(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(refusedAgain.records), "dead letter")
	// Output:
	// hello, ANN!
	// 2 dead letters
	// hello, BOB!
	// 1 dead letter
}

// A replay from the failed task skips the tasks before it.
func ExampleNewReplayNode() {
	ctx := context.Background()
	var refused kept
	if err := greetings(people("ann", "bob"), "ANN!").DeadLetters("refused", refused.destination(), 0, 0).Run(ctx); err != nil {
		panic(err)
	}

	pipeline, err := greetings(people(), "ANN! BOB!").Worker() // which never runs
	if err != nil {
		panic(err)
	}
	first, err := funnel.NewReplayNode("refused", refused.source(), log.Nop(), nil, pipeline.FirstTask, "check")
	if err != nil {
		panic(err)
	}
	replay, err := funnel.NewWorker(first, nil, log.Nop(), nil)
	if err != nil {
		panic(err)
	}
	if err := replay.Run(ctx); err != nil {
		panic(err)
	}
	// Output:
	// hello, ANN!
	// hello, BOB!
}

// Without the option, the dead letter holds the record with the changes of the first task.
func ExampleWithDeadLettersAsRead() {
	for _, options := range [][]funnel.WorkerOption{nil, {funnel.WithDeadLettersAsRead()}} {
		var refused kept
		err := greetings(people("bob"), "").DeadLetters("refused", refused.destination(), 0, 0).Options(options...).Run(context.Background())
		if err != nil {
			panic(err)
		}
		letter, err := funnel.ParseDeadLetter(refused.records[0])
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s, %v\n", letter.Record.Payload.After.Bytes(), letter.Version)
	}
	// Output:
	// BOB!, as the task was given it
	// bob, as it was read
}
