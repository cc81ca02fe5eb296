package system_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// becoming is what becomes of a copy of a record from some node on. It may be delivered if
// that depends on which pieces are on a best-effort branch together.
type becoming struct{ isNacked, isDelivered, mayBeDelivered bool }

func (f becoming) with(other becoming) becoming {
	return becoming{f.isNacked || other.isNacked, f.isDelivered || other.isDelivered, f.mayBeDelivered || other.mayBeDelivered}
}

// outcomeTree is a random pipeline and what becomes of a record with a given payload in it.
type outcomeTree struct {
	rng   *rand.Rand
	nodes int
}

// choice returns one of n numbers, which depends on the task and the payload alone.
func choice(task int, payload string, n uint32) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, task, payload)
	return h.Sum32() / 7 % n
}

func (x *outcomeTree) id() (number int, id string) {
	x.nodes++
	return x.nodes, fmt.Sprint("task ", x.nodes)
}

// draw returns a random part of a pipeline.
func (x *outcomeTree) draw(depth int) (*funnel.TaskNode, func(payload string) becoming) {
	switch kind := x.rng.IntN(10); {
	case depth == 0 || kind < 2:
		return x.destination()
	case kind < 6:
		return x.processor(depth)
	case kind < 8:
		return x.fork(depth)
	default:
		return x.route(depth)
	}
}

func (x *outcomeTree) destination() (*funnel.TaskNode, func(string) becoming) {
	number, id := x.id()
	refuses := func(payload string) bool { return choice(number, payload, 10) == 0 }
	return fake.Node(funnel.NewDestinationTask(id, &choosy{refuses: refuses}, log.Nop(), nil)), func(payload string) becoming {
		return becoming{isNacked: refuses(payload), isDelivered: !refuses(payload)}
	}
}

// choosy is a destination that refuses some records.
type choosy struct {
	forgetful
	refuses func(payload string) bool
	acks    []connector.DestinationAck
}

func (d *choosy) Write(_ context.Context, recs []opencdc.Record) error {
	d.acks = nil
	for _, rec := range recs {
		ack := connector.DestinationAck{Position: rec.Position}
		if d.refuses(string(rec.Payload.After.Bytes())) {
			ack.Error = fake.ErrTest
		}
		d.acks = append(d.acks, ack)
	}
	return nil
}

func (d *choosy) Ack(context.Context) ([]connector.DestinationAck, error) { return d.acks, nil }

func (x *outcomeTree) processor(depth int) (*funnel.TaskNode, func(string) becoming) {
	number, id := x.id()
	next, becomes := x.draw(depth - 1)
	asked := make(map[string]bool)
	p := fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		payload := string(rec.Payload.After.Bytes())
		with := func(suffix string) opencdc.Record {
			piece := rec
			piece.Payload.After = opencdc.RawData(payload + suffix)
			return piece
		}
		switch choice(number, payload, 12) {
		case 0:
			return sdk.FilterRecord{}
		case 1:
			return sdk.ErrorRecord{Error: fake.ErrTest}
		case 2, 3:
			return sdk.MultiRecord{with("a"), with("b")}
		case 4:
			if key := payload + string(rec.Position); !asked[key] {
				asked[key] = true
				return nil
			}
		}
		return sdk.SingleRecord(with("c"))
	})
	return fake.Chain(fake.Through(id, p), next), func(payload string) becoming {
		switch choice(number, payload, 12) {
		case 0:
			return becoming{}
		case 1:
			return becoming{isNacked: true}
		case 2, 3:
			return becomes(payload + "a").with(becomes(payload + "b"))
		default:
			return becomes(payload + "c")
		}
	}
}

func (x *outcomeTree) fork(depth int) (*funnel.TaskNode, func(string) becoming) {
	_, id := x.id()
	node := fake.Custom(id, fake.Nothing)
	var branches []func(string) becoming
	for i := range 2 + x.rng.IntN(2) {
		next, becomes := x.draw(depth - 1)
		if next.BestEffort = i > 0 && x.rng.IntN(4) == 0; next.BestEffort {
			required := becomes
			becomes = func(payload string) becoming { // its nacks do not count
				f := required(payload)
				return becoming{mayBeDelivered: f.isDelivered || f.mayBeDelivered}
			}
		}
		node.Next, branches = append(node.Next, next), append(branches, becomes)
	}
	return node, func(payload string) (f becoming) {
		for _, becomes := range branches {
			f = f.with(becomes(payload))
		}
		return f
	}
}

func (x *outcomeTree) route(depth int) (*funnel.TaskNode, func(string) becoming) {
	number, id := x.id()
	n := 1 + x.rng.IntN(3)
	var cases []funnel.Case
	var branches []func(string) becoming
	for i := range n {
		next, becomes := x.draw(depth - 1)
		cases, branches = append(cases, funnel.Case{Name: fmt.Sprint(i), Node: next}), append(branches, becomes)
	}
	node := funnel.NewRouteTask(id, func(rec opencdc.Record) string {
		return fmt.Sprint(choice(number, string(rec.Payload.After.Bytes()), uint32(n)+1))
	}, cases...).Node()
	return node, func(payload string) becoming {
		if i := choice(number, payload, uint32(n)+1); i < uint32(n) {
			return branches[i](payload)
		}
		return becoming{isNacked: true}
	}
}

// In random pipelines, those who send records learn what has become of them.
func TestChannelSource_randomOutcomes(t *testing.T) {
	for seed := range uint64(300) {
		x := &outcomeTree{rng: rand.New(rand.NewPCG(seed, 21))}
		root, becomes := x.draw(4)
		s := funnel.NewChannelSource(nil)
		var opts []funnel.WorkerOption
		if x.rng.IntN(2) == 0 {
			opts = append(opts, funnel.WithWholeBatches())
		}
		if x.rng.IntN(3) == 0 {
			opts = append(opts, funnel.WithReadAhead(20))
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(s), root), fake.Queue(fake.NewDestination(&fake.Journal{}, "dlq")), opts...)
		var senders, running sync.WaitGroup
		running.Go(func() { fake.WantNoError(t, w.Do(t.Context())) })
		for i := range 40 {
			senders.Go(func() {
				payload := fmt.Sprint(i, " ")
				got, err := s.Send(t.Context(), opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(payload)}})
				want := funnel.OutcomeFiltered
				switch f := becomes(payload); {
				case f.isNacked:
					want = funnel.OutcomeDeadLettered
				case f.isDelivered || f.mayBeDelivered && got == funnel.OutcomeDelivered:
					want = funnel.OutcomeDelivered
				}
				var task *funnel.TaskError
				if got != want || (want == funnel.OutcomeDeadLettered) != errors.As(err, &task) {
					t.Errorf("seed %d, record %d: %v (%v), want %v", seed, i, got, err, want)
				}
			})
		}
		senders.Wait()
		s.Close()
		running.Wait()
		fake.WantNoError(t, w.Close(t.Context()))
		if t.Failed() {
			return
		}
	}
}
