package funnel_test

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// pluginAck is the ack type of a host whose destinations were written before it used
// funnel.
type pluginAck struct {
	Position opencdc.Position
	Error    error
}

// plugin is such a destination. The methods that do nothing here are left out.
type plugin struct {
	funnel.HostDestination[pluginAck]
	acks []pluginAck
}

func (p *plugin) Write(_ context.Context, recs []opencdc.Record) error {
	p.acks = p.acks[:0]
	for _, rec := range recs {
		fmt.Printf("the plugin writes %s\n", rec.Position)
		p.acks = append(p.acks, pluginAck{Position: rec.Position})
	}
	return nil
}

func (p *plugin) Ack(context.Context) ([]pluginAck, error) { return p.acks, nil }

// A host can use destinations with an ack type of its own as they are.
func ExampleFromDestination() {
	d := funnel.FromDestination(&plugin{})
	task := funnel.NewDestinationTask("plugin", d, log.Nop(), nil)
	batch := funnel.NewBatch([]opencdc.Record{{Position: opencdc.Position("a")}, {Position: opencdc.Position("b")}})
	if err := task.Do(context.Background(), batch); err != nil {
		panic(err)
	}
	// Output:
	// the plugin writes a
	// the plugin writes b
}

// sizeHistogram is a histogram of the host's metrics library.
type sizeHistogram struct{}

func (sizeHistogram) Observe(bytes float64) { fmt.Printf("a record of %v bytes\n", bytes) }

// A host that already has metrics passes them on, without a registry.
func ExampleNewConnectorMetricsFrom() {
	m := funnel.NewConnectorMetricsFrom(nil, sizeHistogram{}) // no timer
	m.Observe([]opencdc.Record{
		{Key: opencdc.RawData("key")},
		{Payload: opencdc.Change{After: opencdc.StructuredData{"a": 1}}},
	}, time.Now())
	// Output:
	// a record of 3 bytes
	// a record of 7 bytes
}
