package connector_test

import (
	"testing"

	"github.com/conduitio/funnel/connector"
)

func TestType_String(t *testing.T) {
	for typ, want := range map[connector.Type]string{
		connector.TypeSource:      "source",
		connector.TypeDestination: "destination",
		0:                         "Type(0)",
		7:                         "Type(7)",
	} {
		if got := typ.String(); got != want {
			t.Errorf("Type %d: got %q, want %q", int(typ), got, want)
		}
	}
}
