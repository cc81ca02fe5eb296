// Package fake provides sources, destinations, processors and tasks for the tests
// of this module, and functions that wire them into pipelines.
//
// The fakes of a test share a [Journal], in which each call is a line:
//
//	j := &fake.Journal{}
//	out := fake.NewDestination(j, "out")
//	fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2", "3")), fake.To(out)))
//	j.Want(t, "out ack", "out 1 2", "ack 1 2", "out 3", "ack 3")
//
// A fake does what most tests need. A test that needs something else sets one of
// the fake's functions, such as OnWrite.
package fake
