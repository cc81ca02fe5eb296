package suite

import (
	"fmt"
	"slices"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// perRecord is the limit below which allocations count as none per record: there are
// some per batch.
const perRecord = 0.03

// usual is the default number of records per batch.
const usual = 1_000

// Cases returns the cases that compare the engine to the loop, and the engine with
// metrics, an observer, stats, lanes or a sink to the engine without.
func Cases() []Case {
	return slices.Concat(
		linear(), processors(), filter(), split(), singleAcks(), nacks(), destinations(), metered(), exported(),
		observed(), tracedCases(), everythingCases(), divided(), overSink(),
	)
}

// toLoop returns a case that compares the engine to the loop.
func toLoop(name string, x int, title string, target Target, spec pipeline.Spec) Case {
	return Case{
		Row:  Row{Case: name, X: x, Title: title, Base: Loop, Subject: Engine, Target: target},
		Spec: spec,
	}
}

// counted formats a number of things.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

func linear() []Case {
	targets := map[int]Target{
		1:      {More: 150, MoreAllocs: 2},
		100:    {Ratio: 2, Allocs: perRecord},
		1_000:  {Ratio: 2, Allocs: perRecord},
		10_000: {Ratio: 2, Allocs: perRecord},
	}
	var cases []Case
	for _, size := range []int{1, 10, 100, 1_000, 10_000, 100_000} {
		cases = append(cases, toLoop("linear", size, "linear, batches of "+Thousands(size), targets[size],
			pipeline.Spec{Sizes: []int{size}, Destinations: 1}))
	}
	return cases
}

func processors() []Case {
	targets := map[int]Target{3: {Ratio: 1.6}}
	cases := []Case{toLoop("processors, batch 1", 10, "10 pass-through processors, batches of 1", Target{More: 150 + 10*50},
		pipeline.Spec{Sizes: []int{1}, Process: slices.Repeat([]pipeline.Step{pipeline.PassThrough}, 10), Destinations: 1})}
	for _, n := range []int{0, 1, 3, 10} {
		cases = append(cases, toLoop("processors", n, counted(n, "pass-through processor"), targets[n],
			pipeline.Spec{Sizes: []int{usual}, Process: slices.Repeat([]pipeline.Step{pipeline.PassThrough}, n), Destinations: 1}))
	}
	return cases
}

func filter() []Case {
	return []Case{toLoop("filter", usual, "filtering every second record", Target{Ratio: 1.3},
		pipeline.Spec{Sizes: []int{usual}, Process: []pipeline.Step{pipeline.FilterOdd}, Destinations: 1})}
}

func split() []Case {
	return []Case{toLoop("split", usual, "splitting each record in two", Target{Ratio: 1.5},
		pipeline.Spec{Sizes: []int{usual}, Process: []pipeline.Step{pipeline.SplitInTwo}, Destinations: 1})}
}

func singleAcks() []Case {
	return []Case{toLoop("single acks", usual, "one ack per call of the destination", Target{Ratio: 2},
		pipeline.Spec{Sizes: []int{usual}, Destinations: 1, AcksPerCall: 1})}
}

func nacks() []Case {
	targets := map[int]Target{1: {More: 40}}
	var cases []Case
	for _, percent := range []int{0, 1, 10, 50} {
		cases = append(cases, toLoop("nacks", percent, fmt.Sprintf("a destination nacks %d of 100", percent), targets[percent],
			pipeline.Spec{Sizes: []int{usual}, Destinations: 1, Refuse: percent, HasDLQ: true}))
	}
	for _, percent := range []int{1, 10, 50} {
		cases = append(cases, toLoop("processor nacks", percent, fmt.Sprintf("a processor nacks %d of 100", percent), targets[percent],
			pipeline.Spec{Sizes: []int{usual}, Process: []pipeline.Step{pipeline.FailPercent(percent)}, Destinations: 1, HasDLQ: true}))
	}
	return slices.Concat(cases, wholeBatches(cases))
}

// wholeBatches returns the given cases, which have nacks, for a worker whose batches stay
// whole.
func wholeBatches(cases []Case) []Case {
	targets := map[int]Target{1: {More: 5}, 50: {Ratio: 1.3}}
	var whole []Case
	for _, c := range cases {
		if c.X > 0 {
			c.Case += ", whole batches"
			c.Title += ", whole batches"
			c.Subject, c.Target = WholeBatches, targets[c.X]
			whole = append(whole, c)
		}
	}
	return whole
}

func destinations() []Case {
	targets := map[int]Target{2: {Ratio: 2.5, Allocs: perRecord}, 4: {Ratio: 2.5, Allocs: perRecord}}
	cases := []Case{toLoop("destinations, batch 1", 2, "2 destinations, batches of 1", Target{More: 1_500},
		pipeline.Spec{Sizes: []int{1}, Destinations: 2})}
	for _, n := range []int{1, 2, 4, 8} {
		cases = append(cases, toLoop("destinations", n, counted(n, "destination"), targets[n],
			pipeline.Spec{Sizes: []int{usual}, Destinations: n}))
	}
	return cases
}

func metered() []Case {
	withMetrics := func(name, title string, more float64, spec pipeline.Spec) Case {
		return Case{
			Row: Row{
				Case: name, X: usual, Title: title, Base: Engine, Subject: Metrics,
				Target: Target{More: more, Allocs: perRecord},
			},
			Spec: spec,
		}
	}
	return []Case{
		withMetrics("metrics, raw", "metrics on, raw payloads", 40,
			pipeline.Spec{Sizes: []int{usual}, Destinations: 1}),
		withMetrics("metrics, structured", "metrics on, structured payloads of five fields", 250,
			pipeline.Spec{Sizes: []int{usual}, Payload: fake.Structured, Destinations: 1}),
	}
}

// exported returns the cases with everything that the Prometheus exporter offers.
func exported() []Case {
	of := func(size int, name, title string, target Target, spec pipeline.Spec) Case {
		spec.Sizes, spec.Destinations = []int{size}, 1
		return Case{
			Row:  Row{Case: name, X: size, Title: "Prometheus, " + title, Base: Engine, Subject: Prometheus, Target: target},
			Spec: spec,
		}
	}
	return []Case{
		of(usual, "prometheus, raw", "raw payloads", Target{More: 40, Allocs: perRecord}, pipeline.Spec{}),
		of(usual, "prometheus, structured", "structured payloads of five fields", Target{More: 250, Allocs: perRecord},
			pipeline.Spec{Payload: fake.Structured}),
		of(1, "prometheus, raw", "raw payloads, batches of 1", Target{}, pipeline.Spec{}),
	}
}

// observed returns the cases with an observer and with stats. A batch of a linear
// pipeline has five events; with stats, the clock is read twice.
func observed() []Case {
	var cases []Case
	for _, size := range []int{1, usual} {
		spec := pipeline.Spec{Sizes: []int{size}, Destinations: 1}
		of := func(name, title, subject string, each float64) Case {
			return Case{
				Row: Row{
					Case: name, X: size, Title: title + ", batches of " + Thousands(size), Base: Engine, Subject: subject,
					Target: Target{More: max(each/float64(size), 1)},
				},
				Spec: spec,
			}
		}
		cases = append(cases,
			of("observer", "an observer", Observer, 5*100),
			of("stats", "stats of tasks", Stats, 2*100),
		)
	}
	return cases
}

func divided() []Case {
	return []Case{{
		Row: Row{
			Case: "lanes, no wait", X: usual, Title: "partitioned destination of 16 lanes, a key for each record",
			Base: Engine, Subject: Lanes, Target: Target{More: 100},
		},
		Spec: pipeline.Spec{Sizes: []int{usual}, Destinations: 1},
	}}
}

func overSink() []Case {
	var cases []Case
	for _, n := range []int{1, 2} {
		cases = append(cases, Case{
			Row: Row{
				Case: "over a sink, batch 1", X: n, Title: counted(n, "destination") + " over a sink, batches of 1",
				Base: Engine, Subject: Sink, Target: Target{More: 150},
			},
			Spec: pipeline.Spec{Sizes: []int{1}, Destinations: n},
		})
	}
	return cases
}
