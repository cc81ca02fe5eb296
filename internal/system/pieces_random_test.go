package system_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// splitter decides what becomes of a record by the record alone: by its payload, which
// is the position of the source record and the path that the splitter itself keeps,
// "12/2.0". It knows nothing of metadata.
type splitter struct {
	seed   uint64
	name   string
	nacks  bool
	isTask bool // a custom task, which may split twice in a call
}

// fate is what becomes of a record.
type fate int

const (
	pass     fate = iota
	alone         // replaced by a MultiRecord of one
	split         // in two to four pieces
	splitTwo      // in two, the second one again in two
	filtered
	nacked
)

func (s *splitter) rand(payload string) *rand.Rand {
	hash := fnv.New64a()
	fmt.Fprintln(hash, s.name, payload)
	return rand.New(rand.NewPCG(s.seed, hash.Sum64()))
}

// decide returns the fate of the record with a payload and, if it is split, the number
// of pieces.
func (s *splitter) decide(payload string) (fate, int) {
	rng := s.rand(payload)
	switch x := rng.IntN(20); {
	case x < 6:
		return split, 2 + rng.IntN(3)
	case x < 8 && s.isTask:
		return splitTwo, 2
	case x < 10:
		return alone, 0
	case x == 10:
		return filtered, 0
	case x == 11 && s.nacks:
		return nacked, 0
	default:
		return pass, 0
	}
}

// piece returns the payload of piece k of the record with a payload.
func piece(payload string, k int) string {
	if strings.Contains(payload, "/") {
		return payload + "." + strconv.Itoa(k)
	}
	return payload + "/" + strconv.Itoa(k)
}

// expand is the naive model: it returns the payloads that become of one.
func (s *splitter) expand(payload string) []string {
	var payloads []string
	switch fate, n := s.decide(payload); fate {
	case pass, alone:
		return []string{payload}
	case split:
		for k := range n {
			payloads = append(payloads, piece(payload, k))
		}
	case splitTwo:
		second := piece(payload, 1)
		return []string{piece(payload, 0), piece(second, 0), piece(second, 1)}
	}
	return payloads
}

// made returns a record with a payload that is made of another record. Its metadata
// are, at random, a copy of those of that record, the same map, another map, or nil.
func made(rng *rand.Rand, from opencdc.Record, payload string) opencdc.Record {
	to := from.Clone()
	to.Payload.After = opencdc.RawData(payload)
	switch rng.IntN(6) {
	case 0:
		to.Metadata = from.Metadata
	case 1:
		to.Metadata = nil
	case 2:
		to.Metadata = opencdc.Metadata{"other": "x"}
	case 3:
		to.Metadata = opencdc.Metadata{funnel.MetadataPieceID: []string{"0", "1", "1.0", "x"}[rng.IntN(4)]}
	}
	return to
}

// answer returns what a processor answers for a record.
func (s *splitter) answer(rec opencdc.Record) sdk.ProcessedRecord {
	payload := string(rec.Payload.After.Bytes())
	rng := s.rand(payload + " made")
	switch fate, n := s.decide(payload); fate {
	case alone:
		return sdk.MultiRecord{made(rng, rec, payload)}
	case split:
		var pieces sdk.MultiRecord
		for k := range n {
			pieces = append(pieces, made(rng, rec, piece(payload, k)))
		}
		return pieces
	case filtered:
		return sdk.FilterRecord{}
	case nacked:
		return sdk.ErrorRecord{Error: fake.ErrTest}
	default:
		return sdk.SingleRecord(made(rng, rec, payload))
	}
}

// run is one of the ways to run a pipeline: how its records are read, retried and
// processed.
type run struct {
	t        *testing.T
	roll     *rand.Rand
	mayRetry bool
}

// processor returns a processor with the answers of s. It answers for some records only
// at a later call.
func (r *run) processor(s *splitter) funnel.Processor {
	var p fake.Processor = func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		wantPaths(r.t, s.name, recs)
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			results[i] = s.answer(rec)
		}
		return results
	}
	outer := p
	if r.mayRetry {
		seed := r.roll.Uint64()
		outer = func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
			results := p(ctx, recs)
			rng := rand.New(rand.NewPCG(seed, uint64(len(recs))))
			for i := 1; i < len(recs); i++ {
				if rng.IntN(4) == 0 {
					results[i] = nil
				}
			}
			return results[:1+rng.IntN(len(recs))]
		}
	}
	if workers := r.roll.IntN(4); workers > 0 {
		return fake.Parallel(r.t, outer, workers)
	}
	return outer
}

// task returns a custom task that does what s decides, from the last record to the
// first. It leaves some to be retried.
func (r *run) task(s *splitter) func(context.Context, *funnel.Batch) error {
	return func(_ context.Context, b *funnel.Batch) error {
		recs := b.ActiveRecords()
		wantPaths(r.t, s.name, recs)
		for i := len(recs) - 1; i >= 0; i-- {
			rec := recs[i]
			payload := string(rec.Payload.After.Bytes())
			if r.mayRetry && i > 0 && r.roll.IntN(4) == 0 {
				b.Retry(i)
				continue
			}
			rng := s.rand(payload + " made")
			switch fate, n := s.decide(payload); fate {
			case pass:
				b.ActiveRecords()[i].Metadata = made(rng, rec, payload).Metadata
			case alone:
				b.SplitRecord(i, []opencdc.Record{made(rng, rec, payload)})
			case filtered:
				b.Filter(i)
			case nacked:
				b.Nack(i, fake.ErrTest)
			case split, splitTwo:
				pieces := make([]opencdc.Record, n)
				for k := range pieces {
					pieces[k] = made(rng, rec, piece(payload, k))
				}
				b.SplitRecord(i, pieces)
				if fate == splitTwo {
					payload := piece(payload, 1)
					b.SplitRecord(i+1, []opencdc.Record{made(rng, rec, piece(payload, 0)), made(rng, rec, piece(payload, 1))})
				}
				wantPaths(r.t, s.name, b.ActiveRecords()[i:i+len(s.expand(payload))])
			}
		}
		return nil
	}
}

// wantPaths fails the test unless each piece has the ID that its payload names.
func wantPaths(t *testing.T, where string, recs []opencdc.Record) {
	t.Helper()
	for _, rec := range recs {
		payload := string(rec.Payload.After.Bytes())
		_, path, isPiece := strings.Cut(payload, "/")
		if id := rec.Metadata[funnel.MetadataPieceID]; isPiece && id != path {
			t.Errorf("%s: record %s has the ID %q", where, payload, id)
		}
	}
}

// plan is a pipeline: its records, and what becomes of them.
type plan struct {
	seed  uint64
	size  int
	nacks bool
}

func (p plan) splitter(name string, isTask bool) *splitter {
	return &splitter{seed: p.seed, name: name, nacks: p.nacks, isTask: isTask}
}

// want returns the payloads that each destination is to be given if nothing is nacked.
func (p plan) want() [3][]string {
	through := func(payloads []string, name string, isTask bool) []string {
		var all []string
		for _, payload := range payloads {
			all = append(all, p.splitter(name, isTask).expand(payload)...)
		}
		return all
	}
	payloads := fake.Positions(fake.Numbered(p.size))
	payloads = through(through(through(payloads, "1", false), "2", true), "3", false)
	return [3][]string{payloads, through(payloads, "4", false), through(through(payloads, "5", true), "6", false)}
}

// do runs the pipeline, and returns the payloads that each destination was given.
func (r *run) do(p plan) [3][]string {
	source := fake.NewSource(&fake.Journal{})
	for recs := fake.Numbered(p.size); len(recs) > 0; {
		k := 1 + r.roll.IntN(len(recs))
		source.Reads = append(source.Reads, fake.Read{Records: recs[:k:k]})
		recs = recs[k:]
	}
	through := func(name string) *funnel.TaskNode {
		return fake.Node(funnel.NewProcessorTask(name, r.processor(p.splitter(name, false)), log.Nop(), nil))
	}
	custom := func(name string) *funnel.TaskNode { return fake.Custom(name, r.task(p.splitter(name, true))) }
	var outs [3]*fake.Destination
	for i := range outs {
		outs[i] = fake.NewDestination(source.Journal, fmt.Sprint("out", i))
	}
	first := fake.Chain(fake.From(source), through("1"), custom("2"), fake.Fork(through("3"),
		fake.To(outs[0]),
		fake.Chain(through("4"), fake.To(outs[1])),
		fake.Chain(custom("5"), through("6"), fake.To(outs[2]))))
	opts := append(fake.Ahead(r.roll.IntN(2)*r.roll.IntN(20)), funnel.WithPieceIDs())
	fake.WantNoError(r.t, fake.RunWorker(r.t, fake.NewWorker(r.t, first, fake.DLQ(source.Journal), opts...)))
	var payloads [3][]string
	for i, out := range outs {
		wantPaths(r.t, out.Name, out.Written)
		for _, rec := range out.Written {
			payloads[i] = append(payloads[i], string(rec.Payload.After.Bytes()))
		}
	}
	return payloads
}

// isSubsequence returns true if a is b without some elements.
func isSubsequence(a, b []string) bool {
	for _, s := range b {
		if len(a) > 0 && a[0] == s {
			a = a[1:]
		}
	}
	return len(a) == 0
}

// The ID of a piece is the path that the model knows. It is the same in every run,
// however records are read, answered, retried and processed in parallel. No two pieces
// at a destination have the same one. If a piece is nacked, the run decides which of its
// siblings are delivered, but not their IDs.
func TestWithPieceIDs_everyRun(t *testing.T) {
	plans := 200
	if testing.Short() {
		plans = 50
	}
	pieces, nested := 0, 0
	for seed := range uint64(plans) {
		p := plan{seed: seed, size: 1 + int(seed%12), nacks: seed%3 == 2}
		want := p.want()
		for _, payload := range slices.Concat(want[:]...) {
			pieces += strings.Count(payload, "/")
			nested += min(1, strings.Count(payload, "."))
		}
		for i := range uint64(4) {
			synctest.Test(t, func(t *testing.T) {
				r := &run{t: t, roll: rand.New(rand.NewPCG(seed, i)), mayRetry: i > 0}
				for k, got := range r.do(p) {
					if isSubsequence(got, want[k]) && (p.nacks || len(got) == len(want[k])) {
						continue
					}
					t.Errorf("seed %d, run %d: destination %d was given\n%q, want\n%q", seed, i, k, got, want[k])
				}
			})
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d pieces, %d of them nested", pieces, nested)
}
