package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// plan says how much to measure. There are several passes over all points, so that a
// busy moment of the machine does not affect one point alone.
type plan struct {
	passes int
	rounds int           // per point and pass
	round  time.Duration // approximate length of a round
}

const (
	fullRound  = 60 * time.Millisecond
	quickRound = 5 * time.Millisecond
)

// point is one peer at one parameter of a case.
type point struct {
	name, series        string
	x                   int // the parameter
	batch, destinations int
	start               func(*work) (peer, error)
	passes              []cost // the median of each pass
}

// cost is the cost of a record.
type cost struct{ ns, allocs float64 }

// best returns the cost of the fastest pass, which the machine disturbed least.
func (p *point) best() cost {
	return slices.MinFunc(p.passes, func(a, b cost) int { return cmp.Compare(a.ns, b.ns) })
}

// median returns the medians of rounds.
func median(rounds []cost) cost {
	middle := func(value func(cost) float64) float64 {
		values := make([]float64, len(rounds))
		for i, c := range rounds {
			values[i] = value(c)
		}
		slices.Sort(values)
		n := len(values)
		return (values[(n-1)/2] + values[n/2]) / 2
	}
	return cost{
		ns:     middle(func(c cost) float64 { return c.ns }),
		allocs: middle(func(c cost) float64 { return c.allocs }),
	}
}

// ballast is heap that belongs to the rest of the program. Without it the heap would be
// so small that the garbage collector would run all the time.
const ballast = 64 << 20

// measure measures every point as often as the plan says.
func measure(points []*point, plan plan) error {
	rest := make([]byte, ballast)
	defer runtime.KeepAlive(rest)
	for range plan.passes {
		for _, p := range points {
			rounds, err := p.measure(plan)
			if err != nil {
				return fmt.Errorf("%s, case %q at %d: %w", p.series, p.name, p.x, err)
			}
			p.passes = append(p.passes, median(rounds))
		}
	}
	return nil
}

// measure starts a peer, warms it up and measures the rounds of one pass.
func (p *point) measure(plan plan) (costs []cost, err error) {
	w := newWork(p.batch, 1, p.destinations)
	peer, err := p.start(w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, peer.close()) }()

	// Rounds grow until one is long enough to tell how many batches fill a round.
	total, batches := 0, 1
	for {
		begin := time.Now()
		if err := peer.run(batches); err != nil {
			return nil, err
		}
		elapsed := time.Since(begin)
		total += batches
		if elapsed > plan.round/2 {
			batches = max(1, int(float64(batches)*float64(plan.round)/float64(elapsed)))
			break
		}
		batches *= 2
	}

	var before, after runtime.MemStats
	records := float64(batches * p.batch)
	for range plan.rounds {
		runtime.GC()
		runtime.ReadMemStats(&before)
		begin := time.Now()
		err := peer.run(batches)
		elapsed := time.Since(begin)
		runtime.ReadMemStats(&after)
		if err != nil {
			return nil, err
		}
		total += batches
		costs = append(costs, cost{
			ns:     float64(elapsed.Nanoseconds()) / records,
			allocs: float64(after.Mallocs-before.Mallocs) / records,
		})
	}
	return costs, w.check(peer, total)
}

// digits formats a value with 4 significant digits and without an exponent.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(math.Round(v*scale)/scale, 'f', -1, 64)
}
