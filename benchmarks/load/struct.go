package main

import (
	"bufio"
	"errors"
	"io"
	"os"

	json "github.com/go-json-experiment/json"
)

// event is a line of the input.
type event struct {
	ID       int64    `json:"id"`
	Time     string   `json:"time"`
	Service  string   `json:"service"`
	Host     string   `json:"host"`
	Method   string   `json:"method"`
	Path     string   `json:"path"`
	Status   int      `json:"status"`
	Duration float64  `json:"duration_ms"`
	Bytes    int64    `json:"bytes"`
	User     user     `json:"user"`
	Tags     []string `json:"tags"`
	Message  string   `json:"message"`
}

type user struct {
	ID      string `json:"id"`
	Country string `json:"country"`
	Premium bool   `json:"premium"`
}

// runStruct does the work in a loop that knows the shape of the events. It makes no records,
// its dead letters have no reason, and it saves no position.
func runStruct(in, out string) (err error) {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var events, letters output
	if events.file, err = os.Create(eventsPath(out)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, events.file.Close()) }()
	if letters.file, err = os.Create(lettersPath(out)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, letters.file.Close()) }()
	lines := bufio.NewReaderSize(f, 256<<10)
	for n := 1; ; n++ {
		text, err := lines.ReadSlice('\n')
		if err == io.EOF && len(text) == 0 {
			return errors.Join(events.flush(), letters.flush())
		}
		if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		switch {
		case e.ID%filterEvery == 0:
		case e.Status == refused:
			letters.text = append(letters.text, text...)
		default:
			e.Service = servicePrefix + e.Service
			line, err := json.Marshal(&e)
			if err != nil {
				return err
			}
			events.text = append(append(events.text, line...), '\n')
		}
		if n%loopBatch == 0 {
			if err := errors.Join(events.flush(), letters.flush()); err != nil {
				return err
			}
		}
	}
}
