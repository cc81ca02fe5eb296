package funnel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// A dead letter that was stored as JSON becomes the record again, with the types of all
// values.
func ExampleParseDeadLetter() {
	order := opencdc.Record{Key: opencdc.RawData("order 7"), Payload: opencdc.Change{After: opencdc.StructuredData{
		"id": int64(9007199254740993), "total": 12.0, "at": time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
	}}}
	refuse := func(record opencdc.Record) (opencdc.Record, error) { return record, errors.New("no stock") }

	var file bytes.Buffer
	err := funnel.From("orders", funnel.SliceSource(order)).
		Through("check", funnel.Map(refuse)).
		To("table", funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })).
		DeadLetters("refused", funnel.DestinationFunc(func(_ context.Context, letters []opencdc.Record) error {
			for _, letter := range letters {
				file.Write(append(letter.Bytes(), '\n'))
			}
			return nil
		}), 100, 10).
		Run(context.Background())
	if err != nil {
		panic(err)
	}

	var rec opencdc.Record
	if err := json.Unmarshal(file.Bytes(), &rec); err != nil {
		panic(err)
	}
	fmt.Println(rec.Metadata[funnel.MetadataDeadLetter])
	letter, err := funnel.ParseDeadLetter(rec)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s, refused by %q: %s\n", letter.Record.Key, letter.TaskID, letter.Reason)
	fmt.Println("the letter holds the record", letter.Version)
	after := letter.Record.Payload.After.(opencdc.StructuredData)
	for _, name := range []string{"id", "total", "at"} {
		fmt.Printf("%s: %T %v\n", name, after[name], after[name])
	}
	// Output:
	// {"holds":"given","operation":"unset","after":{"at":"time.Time","id":"int64 9007199254740993","total":"float64"}}
	// order 7, refused by "check": no stock
	// the letter holds the record as the task was given it
	// id: int64 9007199254740993
	// total: float64 12
	// at: time.Time 2024-02-29 12:00:00 +0000 UTC
}
