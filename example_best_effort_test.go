package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// ticks is a source of n records, one per read.
type ticks struct {
	funnel.Source
	n, next int
}

func (s *ticks) Open(context.Context) error     { return nil }
func (s *ticks) Teardown(context.Context) error { return nil }

func (s *ticks) Read(context.Context) ([]opencdc.Record, error) {
	if s.next == s.n {
		return nil, io.EOF
	}
	s.next++
	return []opencdc.Record{{Position: fmt.Append(nil, s.next)}}, nil
}

func (s *ticks) Ack(_ context.Context, positions []opencdc.Position) error {
	fmt.Printf("acked %s\n", positions[0])
	return nil
}

// replica is a destination that fails at the write with a given number.
type replica struct {
	funnel.Destination
	name   string
	lostAt int
	writes int
	acks   []connector.DestinationAck
}

func (d *replica) Open(context.Context) error     { return nil }
func (d *replica) Teardown(context.Context) error { return nil }

func (d *replica) Write(_ context.Context, recs []opencdc.Record) error {
	if d.writes++; d.writes == d.lostAt {
		fmt.Println(d.name, "is lost")
		return errors.New("no route to host")
	}
	d.acks = []connector.DestinationAck{{Position: recs[0].Position}}
	fmt.Printf("%s has %s\n", d.name, recs[0].Position)
	return nil
}

func (d *replica) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// If a best-effort branch fails, records and worker go on without it.
func ExampleTaskNode_bestEffort() {
	node := func(d *replica) *funnel.TaskNode {
		return &funnel.TaskNode{Task: funnel.NewDestinationTask(d.name, d, log.Nop(), nil)}
	}
	primary, backup := node(&replica{name: "primary"}), node(&replica{name: "backup", lostAt: 2})
	backup.BestEffort = true

	first := &funnel.TaskNode{
		Task: funnel.NewSourceTask("ticks", &ticks{n: 3}, log.Nop(), nil),
		Next: []*funnel.TaskNode{primary, backup},
	}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil)
	if err != nil {
		panic(err)
	}
	if err := worker.Do(context.Background()); err != nil {
		panic(err)
	}
	// Unordered output:
	// primary has 1
	// backup has 1
	// acked 1
	// primary has 2
	// backup is lost
	// acked 2
	// primary has 3
	// acked 3
}
