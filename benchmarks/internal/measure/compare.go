package measure

import (
	"math"
	"runtime"
	"slices"
	"time"
)

// Cost is the cost per record: the median over the rounds.
type Cost struct {
	NS     float64
	Allocs float64
}

// Comparison is the cost of a subject compared to a base.
type Comparison struct {
	Base, Subject Cost
	Ratio         float64 // median over the rounds of subject / base
	More          float64 // median over the rounds of subject - base, in ns per record
}

// Effort is how much to measure.
type Effort struct {
	Rounds int           // of each side
	Length time.Duration // of a round, roughly
	Runs   int           // of each side, in cases that wait
}

// Full returns the effort for published measurements.
func Full() Effort {
	return Effort{Rounds: 200, Length: time.Millisecond, Runs: 3}
}

// Quick returns the effort for a rough measurement.
func Quick() Effort {
	return Effort{Rounds: 25, Length: time.Millisecond, Runs: 1}
}

// ballast is heap that belongs to the rest of the program. Without it the heap would be
// so small that the garbage collector would run all the time.
const ballast = 64 << 20

// Compare measures two sessions in turn, in many short rounds, so that noise on the
// machine affects both. The garbage collector is on. Costs are per record; a batch has
// this many records.
func Compare(base, subject *Session, records int, effort Effort) (Comparison, error) {
	rest := make([]byte, ballast)
	defer runtime.KeepAlive(rest)
	runtime.GC()
	n, err := calibrate(base, subject, effort.Length)
	if err != nil {
		return Comparison{}, err
	}
	perRound := float64(n * records)
	sides := [2]*Session{base, subject}
	var times [2][]float64
	var ratios, more []float64
	for round := range effort.Rounds {
		var ns [2]float64
		for k := range sides {
			side := (round + k) % 2
			elapsed, err := sides[side].Run(n)
			if err != nil {
				return Comparison{}, err
			}
			ns[side] = float64(elapsed) / perRound
			times[side] = append(times[side], ns[side])
		}
		ratios = append(ratios, ns[1]/ns[0])
		more = append(more, ns[1]-ns[0])
	}
	c := Comparison{
		Base:    Cost{NS: median(times[0])},
		Subject: Cost{NS: median(times[1])},
		Ratio:   median(ratios),
		More:    median(more),
	}
	for side, cost := range []*Cost{&c.Base, &c.Subject} {
		allocs, err := allocations(sides[side], n)
		if err != nil {
			return Comparison{}, err
		}
		cost.Allocs = allocs / float64(records)
	}
	return c, nil
}

// allocations returns the number of allocations per batch: the median of a few rounds.
// These are separate from the timed rounds, since reading the counter stops the
// program.
func allocations(s *Session, n int) (float64, error) {
	var allocs []float64
	for range 5 {
		a, err := s.Allocs(n + 1)
		if err != nil {
			return 0, err
		}
		allocs = append(allocs, a)
	}
	return median(allocs), nil
}

// calibrate returns how many batches the slower session processes in the given time. It
// also warms both sessions up.
func calibrate(base, subject *Session, length time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		var slowest time.Duration
		for _, s := range []*Session{base, subject} {
			elapsed, err := s.Run(n)
			if err != nil {
				return 0, err
			}
			slowest = max(slowest, elapsed)
		}
		if slowest >= length/2 {
			return max(1, int(math.Round(float64(n)*float64(length)/float64(slowest)))), nil
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
