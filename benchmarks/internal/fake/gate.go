package fake

import "time"

// Gate lets a source read in rounds and measures their time. Between rounds the source
// waits in Read, and so does its reader.
//
// A source holds one end of a gate, the controller the other. Gates are made by
// [NewGate].
type Gate struct {
	left    int // batches left in this round
	timed   int // how many of the last batches are measured
	begin   time.Time
	elapsed time.Duration

	rounds chan int
	ended  chan struct{}
}

// NewGate returns a gate at which the source waits.
func NewGate() *Gate {
	return &Gate{rounds: make(chan int), ended: make(chan struct{})}
}

// Begin starts a round: it lets one batch through to warm up, then n measured ones. The
// source must be waiting at the gate.
func (g *Gate) Begin(n int) {
	g.rounds <- n
}

// Ended gets a value when the source starts to wait at the gate: once at the start, and
// after each round when the next batch is requested.
func (g *Gate) Ended() <-chan struct{} {
	return g.ended
}

// Elapsed returns how long the last round took, without unmeasured work. The source
// must be waiting at the gate.
func (g *Gate) Elapsed() time.Duration {
	return g.elapsed
}

// Close ends the source. The source must be waiting at the gate.
func (g *Gate) Close() {
	close(g.rounds)
}

// pass returns true if there is another batch to read, and false if the source has
// ended.
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

// unmeasured calls do without counting its time.
func (g *Gate) unmeasured(do func()) {
	begin := time.Now()
	do()
	g.begin = g.begin.Add(time.Since(begin))
}
