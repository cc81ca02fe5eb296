package fake

import "time"

// Gate lets a source read in rounds and takes their time. Between two rounds
// the source waits in Read, and whoever reads from it waits there, too.
//
// A source holds one end of a gate, the controller the other one. The zero Gate
// is not usable, see [NewGate].
type Gate struct {
	left    int // batches to be read in this round
	timed   int // how many of the last ones are measured
	begin   time.Time
	elapsed time.Duration

	rounds chan int
	ended  chan struct{}
}

// NewGate returns a gate that is closed.
func NewGate() *Gate {
	return &Gate{rounds: make(chan int), ended: make(chan struct{})}
}

// Begin lets n batches through, after one that warms up and is not measured. The
// source must wait at the gate.
func (g *Gate) Begin(n int) {
	g.rounds <- n
}

// Ended is sent a value when the source comes to wait at the gate: for the first
// time, and after each round, when the next batch is asked for.
func (g *Gate) Ended() <-chan struct{} {
	return g.ended
}

// Elapsed returns how long the last round took, what was not to be measured
// taken off. The source must wait at the gate.
func (g *Gate) Elapsed() time.Duration {
	return g.elapsed
}

// Close ends the source that waits at the gate.
func (g *Gate) Close() {
	close(g.rounds)
}

// pass returns true if there is a batch to be read, false if the source has
// come to its end.
func (g *Gate) pass() bool {
	if g.left == 0 && !g.wait() {
		return false
	}
	if g.left == g.timed {
		g.begin = time.Now()
	}
	g.left--
	return true
}

func (g *Gate) wait() bool {
	g.elapsed = time.Since(g.begin)
	g.ended <- struct{}{}
	n, ok := <-g.rounds
	g.left, g.timed = n+1, n
	return ok
}

// unmeasured does something that does not count.
func (g *Gate) unmeasured(do func()) {
	begin := time.Now()
	do()
	g.begin = g.begin.Add(time.Since(begin))
}
