package system_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// keyOf returns the first digit of the position of a record as its key, but no key for
// the digits 8 and 9.
func keyOf(position string) string {
	if position[0] >= '8' {
		return ""
	}
	return position[:1]
}

// asLanes returns a destination of lanes that write to the journal what d does, and
// refuse what it refuses. Each lane takes a time that rng draws.
func asLanes(d *fake.Destination, lanes int, rng *rand.Rand) funnel.Destination {
	key := func(rec opencdc.Record) string { return keyOf(string(rec.Position)) }
	return funnel.NewPartitionedDestination(lanes, key, func(int) (funnel.Destination, error) {
		lane := fake.SlowDestination(d.Journal, d.Name, time.Duration(rng.IntN(3))*time.Millisecond)
		lane.Refuse = d.Refuse
		return lane, nil
	})
}

// byKey returns the positions that a destination was given, in order, for each key.
// Those without a key are sorted.
func byKey(j *fake.Journal, name string) map[string][]string {
	given := make(map[string][]string)
	for _, position := range strings.Fields(j.Given(name)) {
		given[keyOf(position)] = append(given[keyOf(position)], position)
	}
	slices.Sort(given[""])
	return given
}

// A pipeline with partitioned destinations, also as its dead-letter queue, does the same
// as with the destinations themselves, except for the order of different keys.
func TestPartitionedDestination_likeThePlainOne(t *testing.T) {
	for seed := range uint64(300) {
		run := func(t *testing.T, decorate func(*fake.Destination, int, *rand.Rand) funnel.Destination) *fake.Journal {
			j := &fake.Journal{}
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 0))
				source, n := fake.NewSource(j), 0
				for range 3 {
					size := 1 + rng.IntN(30)
					source.Reads = append(source.Reads, fake.Read{Records: fake.Numbered(n + size)[n:]})
					n += size
				}
				end := func(name string) *funnel.TaskNode {
					d := fake.NewDestination(j, name)
					d.Refuse["3'"], d.Refuse["8a"], d.Refuse["12"] = fake.ErrTest, fake.ErrTest, fake.ErrTest
					return fake.Node(funnel.NewDestinationTask(name, decorate(d, 1+rng.IntN(6), rng), log.Nop(), nil))
				}
				p := &chance{seed: seed, name: "p", asked: make(map[string]int)}
				parallel := fake.Parallel(t, p.process, 1+rng.IntN(4))
				first := fake.Chain(fake.From(source), fake.Through("p", parallel), end("a"))
				if rng.IntN(2) == 0 {
					first.Next[0].Next = append(first.Next[0].Next, end("b"))
				}
				dlq := funnel.NewDLQ("dlq", decorate(fake.NewDestination(j, "dlq"), 3, rng), log.Nop(), nil, 0, 0)
				fake.WantNoError(t, fake.RunWorker(t, fake.NewWorker(t, first, dlq)))
			})
			return j
		}
		want := run(t, func(d *fake.Destination, _ int, _ *rand.Rand) funnel.Destination { return d })
		got := run(t, asLanes)
		fake.WantLines(t, got.Lines("ack"), want.Lines("ack")...)
		for _, name := range []string{"a", "b", "dlq"} {
			if got, want := byKey(got, name), byKey(want, name); !reflect.DeepEqual(got, want) {
				t.Errorf("%s was given %v, want %v", name, got, want)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
