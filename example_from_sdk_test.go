package funnel_test

import (
	"context"
	"fmt"

	"github.com/conduitio/conduit-commons/config"
	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// tagger is a processor of the Conduit processor SDK.
type tagger struct {
	sdk.UnimplementedProcessor
	tag string
}

func (*tagger) Specification() (sdk.Specification, error) {
	return sdk.Specification{Name: "tagger", Parameters: config.Parameters{
		"tag": {Default: "new", Type: config.ParameterTypeString},
	}}, nil
}

func (p *tagger) Configure(_ context.Context, settings config.Config) error {
	p.tag = settings["tag"]
	return nil
}

func (p *tagger) Process(_ context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(records))
	for i, record := range records {
		record.Payload.After = opencdc.RawData(p.tag + " " + string(record.Payload.After.Bytes()))
		results[i] = sdk.SingleRecord(record)
	}
	return results
}

// A processor of the SDK runs with its settings, which are checked.
func ExampleFromSDK() {
	for _, settings := range []config.Config{nil, {"tag": "ripe"}, {"tog": "ripe"}} {
		p := funnel.FromSDK(&tagger{}, settings)
		if err := p.Open(context.Background()); err != nil {
			fmt.Println(err)
			continue
		}
		process(p, "apple")
	}
	// Output:
	// new apple {ack <nil>}
	// ripe apple {ack <nil>}
	// the settings of the processor "tagger" are invalid: "tog": unrecognized parameter
}
