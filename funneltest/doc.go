// Package funneltest helps to test pipelines, connectors and processors, without services
// and without sleeping.
//
//   - [Run] runs a pipeline, or a part of one, over a few records, and returns what became
//     of them. With it, a test of a chain of processors takes five lines.
//   - [Source], [Destination] and [Processor] are fakes. A test sets their fields, which
//     make them block, fail, refuse or wait, and asks them afterwards what happened.
//   - [TestSource], [TestDestination] and [TestProcessor] are conformance tests for authors
//     of connectors and processors.
//
// For tests that expect each call, package funnelmock has gomock mocks.
package funneltest
