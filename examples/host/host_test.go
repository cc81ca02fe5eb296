package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"example.com/host"
)

// connector is what sources and destinations have in common.
type connector struct {
	id     string
	opened int
	torn   int
}

func (c *connector) ID() string                     { return c.id }
func (c *connector) Open(context.Context) error     { c.opened++; return nil }
func (c *connector) Teardown(context.Context) error { c.torn++; return nil }
func (c *connector) Errors() <-chan error           { return nil }

// source returns single records.
type source struct {
	connector
	records []string
	acked   []string
}

func (s *source) Read(context.Context) ([]opencdc.Record, error) {
	if len(s.records) == 0 {
		return nil, io.EOF
	}
	r := opencdc.Record{Position: opencdc.Position(s.records[0]), Payload: opencdc.Change{After: opencdc.RawData(s.records[0])}}
	s.records = s.records[1:]
	return []opencdc.Record{r}, nil
}

func (s *source) Ack(_ context.Context, positions []opencdc.Position) error {
	for _, p := range positions {
		s.acked = append(s.acked, string(p))
	}
	return nil
}

// destination collects records. It refuses records for which refuse returns an error, and
// fails with err.
type destination struct {
	connector
	mu      sync.Mutex
	written []string
	acks    []host.Ack
	refuse  func(position string) error
	err     error
}

func (d *destination) Write(_ context.Context, records []opencdc.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	d.acks = d.acks[:0]
	for _, r := range records {
		d.written = append(d.written, string(r.Position))
		ack := host.Ack{Position: r.Position}
		if d.refuse != nil {
			ack.Error = d.refuse(string(r.Position))
		}
		d.acks = append(d.acks, ack)
	}
	return nil
}

func (d *destination) Ack(context.Context) ([]host.Ack, error) { return d.acks, nil }

// pipeline returns a pipeline of two sources and two destinations, the queues that it
// asks for, and where it logs.
func pipeline() (p *host.Pipeline, dead *[]*destination, logged *bytes.Buffer) {
	dead, logged = new([]*destination), new(bytes.Buffer)
	return &host.Pipeline{
		Sources: []host.Source{
			&source{connector: connector{id: "a"}, records: []string{"a1", "a2", "a3"}},
			&source{connector: connector{id: "b"}, records: []string{"b1", "b2"}},
		},
		Destinations: []host.Destination{
			&destination{connector: connector{id: "x"}, refuse: func(p string) error {
				if p == "a2" {
					return errors.New("no")
				}
				return nil
			}},
			&destination{connector: connector{id: "y"}},
		},
		Dead: func() host.Destination {
			d := &destination{connector: connector{id: "dead"}}
			*dead = append(*dead, d)
			return d
		},
		Logger:  host.Logger{Logger: zerolog.New(zerolog.SyncWriter(logged)), Component: "runtime"},
		Metrics: &host.Metrics{},
	}, dead, logged
}

// Each record reaches both destinations once, in the order of its source, and is acked.
// The host's metrics and logger are used, and its connectors opened and torn down once.
func TestPipeline(t *testing.T) {
	p, dead, logged := pipeline()
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range p.Destinations {
		d := d.(*destination)
		var fromA, fromB []string
		for _, r := range d.written {
			if r[0] == 'a' {
				fromA = append(fromA, r)
			} else {
				fromB = append(fromB, r)
			}
		}
		if !slices.Equal(fromA, []string{"a1", "a2", "a3"}) || !slices.Equal(fromB, []string{"b1", "b2"}) || d.opened != 1 || d.torn != 1 {
			t.Errorf("%s got %q, was opened %d times and torn down %d times", d.id, d.written, d.opened, d.torn)
		}
	}
	for i, want := range [][]string{{"a1", "a2", "a3"}, {"b1", "b2"}} {
		if s := p.Sources[i].(*source); !slices.Equal(s.acked, want) || s.torn != 1 {
			t.Errorf("%s: acked %q, torn down %d times", s.id, s.acked, s.torn)
		}
	}
	for i, want := range [][]string{{"a2"}, nil} {
		if got := (*dead)[i].written; !slices.Equal(got, want) {
			t.Errorf("dead letters of source %d: %q", i, got)
		}
	}
	// A time for each of 5 reads, 10 writes, 1 dead letter and 5 acks.
	if got := p.Metrics.Time.Count(); got != 21 {
		t.Errorf("%d times", got)
	}
	// The 2 bytes of each record 3 times, and those of the dead letter.
	if got := p.Metrics.Bytes.Total(); got <= 30 {
		t.Errorf("%v bytes", got)
	}
	if !strings.Contains(logged.String(), "records were written to the dead-letter queue") {
		t.Errorf("logged %s", logged)
	}
}

// The host recognizes errors that are fatal for the engine, and its own mark.
func TestPipeline_fatal(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		fatal bool
	}{
		"the host's":   {host.Fatal(errors.New("gone")), true},
		"not fatal":    {errors.New("away"), false},
		"the engine's": {nil, true}, // the source returns a record without a position
	} {
		p, _, _ := pipeline()
		p.Destinations[1].(*destination).err = tt.err
		if tt.err == nil {
			p.Sources[0].(*source).records[0] = ""
		}
		err := p.Run(t.Context())
		if err == nil || host.IsFatal(err) != tt.fatal {
			t.Errorf("%s: fatal is %t: %v", name, host.IsFatal(err), err)
		}
	}
}

// The code that connects host and engine has at most 40 lines.
func TestGlue(t *testing.T) {
	code, err := os.ReadFile("glue.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(code), "\n)\n")
	n := 0
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	if n > 40 {
		t.Error(fmt.Sprint(n, " lines of glue"))
	}
}
