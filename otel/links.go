package otel

import (
	"context"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The keys of W3C Trace Context in the metadata of a record.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// maxLinks is the maximum number of links of a span.
const maxLinks = 32

// linkRecords links a span to the traces of records, to each once.
func linkRecords(span trace.Span, records []opencdc.Record) {
	var seen map[string]struct{} // linked or invalid, by traceparent
	links, omitted := 0, 0
	for i := range records {
		metadata := records[i].Metadata
		if len(metadata) == 0 {
			continue
		}
		header := metadata[traceparent]
		if header == "" {
			continue
		}
		if _, ok := seen[header]; ok {
			continue
		}
		if links == maxLinks {
			omitted++
			continue
		}
		if seen == nil {
			seen = make(map[string]struct{}, maxLinks)
		}
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(metadata))
		link := trace.SpanContextFromContext(ctx)
		seen[header] = struct{}{}
		if link.IsValid() {
			span.AddLink(trace.Link{SpanContext: link})
			links++
		}
	}
	if omitted > 0 {
		span.SetAttributes(OmittedLinksKey.Int(omitted))
	}
}
