package funneltest_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
)

// shout is the processor under test. In a real program it is in another file.
var shout = &funneltest.Processor{Answer: func(r opencdc.Record) sdk.ProcessedRecord {
	word := r.Payload.After.Bytes()
	if len(word) == 0 {
		return sdk.ErrorRecord{Error: errors.New("nothing to shout")}
	}
	r.Payload.After = opencdc.RawData(bytes.ToUpper(word))
	return sdk.SingleRecord(r)
}}

// testShout tests it. In a real program its name is TestShout.
func testShout(t *testing.T) {
	r := funneltest.Run(t, funnel.Through("shout", shout), funneltest.Records("hear", "", "me")...)
	r.Want(t, "out", "HEAR", "ME")
	r.WantDeadLetters(t, "nothing to shout")
}

// A test of a chain of processors: Run adds the source, the destination and the
// dead-letter queue.
func ExampleRun() { _ = testShout }
