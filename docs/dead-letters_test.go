package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// ages returns a pipeline that stores numbers and nacks everything else.
func ages(texts string) *funnel.Pipeline {
	var records []opencdc.Record
	for text := range strings.FieldsSeq(texts) {
		records = append(records, opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(text)}})
	}
	return funnel.From("ages", funnel.SliceSource(records...)).
		Through("check", funnel.Map(checkAge)).
		To("table", funnel.DestinationFunc(storeAges))
}

func checkAge(record opencdc.Record) (opencdc.Record, error) {
	_, err := strconv.Atoi(string(record.Payload.After.Bytes()))
	return record, err
}

func storeAges(_ context.Context, records []opencdc.Record) error {
	for _, record := range records {
		fmt.Printf("stored %s\n", record.Payload.After.Bytes())
	}
	return nil
}

func printLetters(_ context.Context, letters []opencdc.Record) error {
	for _, letter := range letters {
		reason, err := letter.Metadata.GetConduitDLQNackError()
		if err != nil {
			return err
		}
		task, err := letter.Metadata.GetConduitDLQNackNodeID()
		if err != nil {
			return err
		}
		fmt.Printf("dead letter %s from %q: %s\n", letter.Position, task, reason)
	}
	return nil
}

func queueAges(ctx context.Context) error {
	return ages("30 x 41").DeadLetters("refused", funnel.DestinationFunc(printLetters), 100, 10).Run(ctx)
}

func Example_deadLetters() {
	if err := queueAges(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// stored 30
	// dead letter 1 from "check": strconv.Atoi: parsing "x": invalid syntax
	// stored 41
}

func exceedThreshold(ctx context.Context) {
	err := ages("30 x 41 42 43 y z 44").DeadLetters("refused", funnel.DestinationFunc(printLetters), 4, 1).Run(ctx)
	fmt.Println(err)
	fmt.Println("fatal:", funnel.IsFatalError(err), errors.Is(err, funnel.ErrNackThreshold))
}

func Example_deadLettersWindow() {
	exceedThreshold(context.Background())
	// Output:
	// stored 30
	// dead letter 1 from "check": strconv.Atoi: parsing "x": invalid syntax
	// stored 41
	// stored 42
	// stored 43
	// dead letter 5 from "check": strconv.Atoi: parsing "y": invalid syntax
	// too many nacks: at most 1 of the last 4 records may be nacked: task "check": record "6" was nacked: strconv.Atoi: parsing "z": invalid syntax
	// fatal: true true
}

func tolerateNothing(ctx context.Context) {
	err := ages("x").Run(ctx)
	fmt.Println("no queue:", err)

	err = ages("x").DeadLetters("refused", funnel.DestinationFunc(printLetters), 100, 0).Run(ctx)
	fmt.Println("threshold 0:", err)

	full := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return errors.New("disk full") })
	err = ages("x").DeadLetters("refused", full, 100, 10).Run(ctx)
	fmt.Println("queue fails:", err)
}

func Example_deadLettersRefused() {
	tolerateNothing(context.Background())
	// Output:
	// no queue: task "check": record "0" was nacked: strconv.Atoi: parsing "x": invalid syntax
	// threshold 0: task "check": record "0" was nacked: strconv.Atoi: parsing "x": invalid syntax
	// queue fails: failed to write to the dead-letter queue "refused": failed to write 1 records, from "0" on: disk full (not written: task "check": record "0" was nacked: strconv.Atoi: parsing "x": invalid syntax)
}

func readLettersBack(ctx context.Context) error {
	var queue bytes.Buffer // a file, in a real program
	write := func(_ context.Context, letters []opencdc.Record) error {
		for _, letter := range letters {
			queue.Write(append(letter.Bytes(), '\n')) // a line of JSON
		}
		return nil
	}
	if err := ages("x y").DeadLetters("refused", funnel.DestinationFunc(write), 100, 10).Run(ctx); err != nil {
		return err
	}
	for decoder := json.NewDecoder(&queue); decoder.More(); {
		var letter opencdc.Record
		if err := decoder.Decode(&letter); err != nil {
			return err
		}
		dead, err := funnel.ParseDeadLetter(letter)
		if err != nil {
			return err
		}
		fmt.Printf("record %s was %s: %s\n", dead.Record.Position, dead.Record.Payload.After.Bytes(), dead.Reason)
	}
	return nil
}

func Example_deadLettersReadBack() {
	if err := readLettersBack(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// record 0 was x: strconv.Atoi: parsing "x": invalid syntax
	// record 1 was y: strconv.Atoi: parsing "y": invalid syntax
}

func replayLetters(ctx context.Context) error {
	var refused []opencdc.Record // a file, in a real program
	keep := func(_ context.Context, letters []opencdc.Record) error {
		refused = append(refused, letters...)
		return nil
	}
	err := ages("30 4O").
		DeadLetters("refused", funnel.DestinationFunc(keep), 100, 10).
		Options(funnel.WithDeadLettersAsRead()).
		Run(ctx)
	if err != nil {
		return err
	}
	repair := func(record opencdc.Record) (opencdc.Record, error) {
		text := bytes.ReplaceAll(record.Payload.After.Bytes(), []byte("O"), []byte("0"))
		record.Payload.After = opencdc.RawData(text)
		return record, nil
	}
	return funnel.From("refused", funnel.NewReplaySource(funnel.SliceSource(refused...), funnel.VersionAsRead)).
		Through("repair", funnel.Map(repair)).
		Through("check", funnel.Map(checkAge)).
		To("table", funnel.DestinationFunc(storeAges)).
		DeadLetters("refused again", funnel.DestinationFunc(printLetters), 100, 10).
		Run(ctx)
}

func Example_deadLettersReplay() {
	if err := replayLetters(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// stored 30
	// stored 40
}

func logLetters(ctx context.Context) error {
	discard := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
	return ages("30 x y").
		DeadLetters("refused", discard, 100, 10).
		Logger(log.New(zerolog.New(os.Stdout).Level(zerolog.WarnLevel))).
		Run(ctx)
}

func Example_deadLettersLog() {
	if err := logLetters(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// stored 30
	// {"level":"warn","connector_id":"refused","component":"dlq","records":2,"record_position":"1","task_id":"check","error":"strconv.Atoi: parsing \"x\": invalid syntax","message":"records were written to the dead-letter queue"}
}
