package funnel_test

import (
	"context"
	"fmt"
	"io"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// rows is a source of a row of each table.
type rows struct {
	funnel.Source
	tables []string
}

func (s *rows) Read(context.Context) (recs []opencdc.Record, err error) {
	for i, table := range s.tables {
		recs = append(recs, opencdc.Record{Position: fmt.Append(nil, i), Metadata: opencdc.Metadata{"table": table}})
	}
	return recs, io.EOF
}

func (s *rows) Ack(_ context.Context, positions []opencdc.Position) error {
	fmt.Println("acked", len(positions))
	return nil
}

func (s *rows) Teardown(context.Context) error { return nil }

// store is a destination that tells what it has got.
type store struct {
	funnel.Destination
	name string
	acks []connector.DestinationAck
}

func (d *store) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = nil
	line := d.name + " has"
	for _, rec := range recs {
		line += fmt.Sprintf(" %s", rec.Position)
		d.acks = append(d.acks, connector.DestinationAck{Position: rec.Position})
	}
	fmt.Println(line)
	return nil
}

func (d *store) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

// A route sends each record to the destination of its table. The records of other tables
// go to the default.
func ExampleRouteTask() {
	to := func(name string) *funnel.TaskNode {
		return &funnel.TaskNode{Task: funnel.NewDestinationTask(name, &store{name: name}, log.Nop(), nil)}
	}
	route := funnel.NewRouteTask("by-table", func(rec opencdc.Record) string { return rec.Metadata["table"] },
		funnel.Case{Name: "orders", Node: to("warehouse")},
		funnel.Case{Name: "users", Node: to("directory")},
		funnel.Default(to("archive")),
	)
	source := &rows{tables: []string{"orders", "users", "prices", "orders"}}
	first := &funnel.TaskNode{
		Task: funnel.NewSourceTask("rows", source, log.Nop(), nil),
		Next: []*funnel.TaskNode{route.Node()},
	}
	worker, err := funnel.NewWorker(first, nil, log.Nop(), nil)
	if err != nil {
		panic(err)
	}
	if err := worker.Do(context.Background()); err != nil {
		panic(err)
	}
	// Unordered output:
	// warehouse has 0 3
	// directory has 1
	// archive has 2
	// acked 4
}
