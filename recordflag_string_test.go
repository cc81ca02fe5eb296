package funnel_test

import (
	"testing"

	"github.com/conduitio/funnel"
)

// Each flag has a name.
func TestRecordFlag_String(t *testing.T) {
	for flag, want := range map[funnel.RecordFlag]string{
		funnel.RecordFlagAck:        "ack",
		funnel.RecordFlagNack:       "nack",
		funnel.RecordFlagRetry:      "retry",
		funnel.RecordFlagFilter:     "filter",
		funnel.RecordFlagFilter + 1: "RecordFlag(4)", // there are no others
	} {
		if got := flag.String(); got != want {
			t.Errorf("flag %d is %q, want %q", int(flag), got, want)
		}
	}
}
