// Package funneltest helps to test pipelines, and what they are made of, without services
// and without sleeping.
//
//   - [Run] runs a pipeline, or a part of one, over a few records, and says what became of
//     them. It tests a chain of processors in five lines.
//   - [Source], [Destination] and [Processor] are fakes that a test fills like a map and
//     asks afterwards what happened. They block, fail, refuse and take their time as the
//     test wants.
//   - [TestSource], [TestDestination] and [TestProcessor] are conformance tests for whoever
//     writes a connector or a processor.
//
// For tests that expect each call, package funnelmock has gomock mocks.
package funneltest
