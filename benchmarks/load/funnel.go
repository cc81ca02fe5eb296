package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

var errRefused = errors.New("refused")

// runFunnel does the work with funnel and its connectors.
func runFunnel(in, out string) error {
	store, err := position.NewFiles(filepath.Join(out, "positions"))
	if err != nil {
		return err
	}
	source := position.Track("input", store, func(from opencdc.Position) (funnel.Source, error) {
		return file.NewSource(in, file.JSONLines, from)
	})
	events, err := file.NewDestination(eventsPath(out), file.JSONLines)
	if err != nil {
		return err
	}
	letters, err := file.NewDestination(lettersPath(out), file.Records)
	if err != nil {
		return err
	}
	return funnel.From("input", source).
		Through("filter", funnel.Filter(isKept)).
		Through("rename", funnel.Map(rename)).
		To("events", events).
		DeadLetters("refused", letters, 0, 0).
		Options(funnel.WithWholeBatches()).
		Run(context.Background())
}

func isKept(r opencdc.Record) bool {
	return r.Payload.After.(opencdc.StructuredData)["id"].(int64)%filterEvery != 0
}

func rename(r opencdc.Record) (opencdc.Record, error) {
	event := r.Payload.After.(opencdc.StructuredData)
	if event["status"] == int64(refused) {
		return r, errRefused
	}
	event["service"] = servicePrefix + event["service"].(string)
	return r, nil
}
