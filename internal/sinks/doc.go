// Package sinks tests sinks: random workers share a random sink, and much goes wrong. It
// holds only tests, which use nothing of the engine but its public API.
//
// A seed determines the tasks of the sink and of the workers, what each task does with
// each record, what fails, and when the host opens, stops, cancels and closes. All parts
// report each call to the rules, which are simple and independent of how a sink is
// built:
//
//	world, draw   what a seed determines
//	part          tasks and connectors
//	life          what the host does
//	rules         what must hold at each call
//	ending        what must hold when all is over
//
// Each run takes place in a bubble of [testing/synctest], whose time stands still while
// anybody works. So of two workers that ask for the sink at different times it is known
// who asked first. To repeat one seed, and to run many new ones:
//
//	go test ./internal/sinks -run TestSinks -seed 123 -sinks 1 -v
//	go test ./internal/sinks -run TestSinks -seed 0 -sinks 100000
package sinks
