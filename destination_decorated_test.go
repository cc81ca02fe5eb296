package funnel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The tests of what limited and retry destinations and destinations with another ack type
// have in common, and of limited and retry destinations around each other.

// decorators are the decorators of destinations.
var decorators = map[string]func(funnel.Destination) funnel.Destination{
	"limited":               limitedTo(2),
	"retrying":              retrying,
	"limited and retrying":  func(d funnel.Destination) funnel.Destination { return limitedTo(2)(retrying(d)) },
	"retrying and limited":  func(d funnel.Destination) funnel.Destination { return retrying(limitedTo(2)(d)) },
	"retried one at a time": func(d funnel.Destination) funnel.Destination { return limitedTo(1)(retrying(d)) },
	"of another ack type": func(d funnel.Destination) funnel.Destination {
		return funnel.FromDestination[connector.DestinationAck](d)
	},
}

func limitedTo(records int) func(funnel.Destination) funnel.Destination {
	return func(d funnel.Destination) funnel.Destination {
		return funnel.NewLimitedDestination(d, funnel.WriteLimit{Records: records})
	}
}

func retrying(d funnel.Destination) funnel.Destination {
	return funnel.NewRetryDestination(d, funnel.DestinationRetry{})
}

// A destination that breaks its contract is detected behind a decorator, too.
func TestDecorated_invalid(t *testing.T) {
	d := funnel.NewLimitedDestination(retrying(funnel.NewPartitionedDestination(0, nil, nil)), funnel.WriteLimit{Records: 1})
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(&fake.Journal{})), intoTask(d)), nil, log.Nop(), nil)
	fake.WantError(t, err, nil, "among 0 lanes")
	fake.WantTask(t, err, "out")
}

// intoTask returns the node of a destination. The ID of its task is "out".
func intoTask(d funnel.Destination) *funnel.TaskNode {
	return fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
}

// queueOf returns a dead-letter queue without a window.
func queueOf(d funnel.Destination) *funnel.DLQ {
	return funnel.NewDLQ("dlq", d, log.Nop(), nil, 0, 0)
}

// ackingAtMost lets a destination return at most n acks in each call.
func ackingAtMost(d *fake.Destination, n int) *fake.Destination {
	d.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
		acks := d.Pending[:min(n, len(d.Pending))]
		d.Pending = d.Pending[len(acks):]
		return acks, nil
	}
	return d
}

// refusing lets a destination refuse a record as often as its number says.
func refusing(d *fake.Destination, times map[string]int) *fake.Destination {
	d.OnWrite = func(context.Context, []opencdc.Record) error {
		for i := range d.Pending {
			p := string(d.Pending[i].Position)
			if times[p] > 0 {
				d.Pending[i].Error = fmt.Errorf("%w, %d to go", fake.ErrOf(p), times[p])
				times[p]--
			}
		}
		return nil
	}
	return d
}

// askForAcks calls Ack until there are n acks or an error, and returns what it returned,
// a line per call: positions, with a ! behind those of refused records.
func askForAcks(ctx context.Context, d funnel.Destination, n int) (calls []string, err error) {
	for n > 0 {
		acks, err := d.Ack(ctx)
		if err != nil {
			return calls, err
		}
		var words []string
		for _, ack := range acks {
			word := string(ack.Position)
			if ack.Error != nil {
				word += "!"
			}
			words = append(words, word)
		}
		calls = append(calls, strings.Join(words, " "))
		n -= len(acks)
	}
	return calls, nil
}

// identified is a destination with an ID and errors.
type identified struct {
	*fake.Destination
	errs chan error
}

func (identified) ID() string             { return "the ID" }
func (d identified) Errors() <-chan error { return d.errs }

// All calls except Write and Ack are passed on unchanged.
func TestDestination_decoratedLife(t *testing.T) {
	for name, decorate := range decorators {
		j := &fake.Journal{}
		inner := identified{fake.NewDestination(j, "inner"), make(chan error)}
		fails := func(ctx context.Context) error {
			if ctx != t.Context() {
				t.Errorf("%s: the context is another one", name)
			}
			return fake.ErrTest
		}
		inner.OnOpen, inner.OnTeardown = fails, fails
		d := decorate(inner)
		if d.ID() != "the ID" || d.Errors() != inner.errs {
			t.Errorf("%s: the ID is %q, the errors are %v", name, d.ID(), d.Errors())
		}
		if err := d.Open(t.Context()); err != fake.ErrTest {
			t.Errorf("%s: Open: %v", name, err)
		}
		if err := d.Teardown(t.Context()); err != fake.ErrTest {
			t.Errorf("%s: Teardown: %v", name, err)
		}
		j.Want(t, "", "open inner", "teardown inner")
	}
}

// A decorator of a nil destination is nil, so that NewWorker reports it.
func TestDestination_decoratedNil(t *testing.T) {
	var none *fake.Destination
	for name, decorate := range decorators {
		for _, d := range []funnel.Destination{nil, none} {
			decorated := decorate(d)
			if decorated != nil {
				t.Errorf("%s, around %T(nil): there is a destination", name, d)
			}
			_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(&fake.Journal{})), intoTask(decorated)), nil, log.Nop(), nil)
			fake.WantError(t, err, nil, `"out"`, "the destination is nil")
		}
	}
}

// Around a destination that refuses nothing, a decorator changes neither records nor acks
// nor data.
func TestDestination_decoratedInAWorker(t *testing.T) {
	for name, decorate := range decorators {
		t.Run(name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				out := ackingAtMost(fake.NewDestination(j, "out"), 2)
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1", "2 3 4 5 6", "7 8")), intoTask(decorate(out))), nil, opts...)
				fake.WantNoError(t, fake.RunWorker(t, w))
				const all = "1 2 3 4 5 6 7 8"
				j.WantGiven(t, all, "", all)
				for _, rec := range out.Written {
					if string(rec.Position) != string(rec.Payload.After.Bytes()) {
						t.Errorf("record %s has become %s", rec.Position, rec.Payload.After)
					}
				}
			})
		})
	}
}

// Every inner call gets the context of the caller.
func TestDestination_decoratedContext(t *testing.T) {
	for name, decorate := range decorators {
		synctest.Test(t, func(t *testing.T) {
			ctx := context.WithValue(t.Context(), fake.ContextKey{}, "value")
			inner := fake.NewDestination(&fake.Journal{}, "inner")
			calls := 0
			check := func(got context.Context) {
				if calls++; got != ctx {
					t.Errorf("%s: the context is another one", name)
				}
			}
			inner.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) {
				check(ctx)
				acks := slices.Clone(inner.Pending)
				acks[0].Error = fake.ErrTest
				return acks, nil
			}
			inner.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { check(ctx); return nil }
			d := decorate(inner)
			fake.WantNoError(t, d.Write(ctx, fake.Numbered(5)))
			if _, err := askForAcks(ctx, d, 5); err != nil || calls < 2 {
				t.Errorf("%s: %d calls, %v", name, calls, err)
			}
		})
	}
}

// Once all acks were returned, Ack calls the inner destination again.
func TestDestination_decoratedAckOfNothing(t *testing.T) {
	for name, decorate := range decorators {
		for _, records := range []int{0, 1, 5} {
			synctest.Test(t, func(t *testing.T) {
				inner := refusing(fake.NewDestination(&fake.Journal{}, "inner"), map[string]int{"3": 1, "4": 9})
				d := decorate(inner)
				if records > 0 {
					fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(records)))
					_, err := askForAcks(t.Context(), d, records)
					fake.WantNoError(t, err)
				}
				inner.OnAck = func(context.Context) ([]connector.DestinationAck, error) { return fake.Acks("another"), fake.ErrTest }
				if acks, err := d.Ack(t.Context()); len(acks) != 1 || err != fake.ErrTest {
					t.Errorf("%s, after %d records: %v, %v", name, records, acks, err)
				}
			})
		}
	}
}

// A panic in any call of the destination reaches the caller of Do unchanged. The worker
// can be closed, and the destination can be used again.
func TestDestination_decoratedPanic(t *testing.T) {
	for name, decorate := range decorators {
		t.Run(name, func(t *testing.T) {
			calls := 1
			for testDecoratedPanic(t, decorate, calls) {
				calls++
			}
			if calls < 5 {
				t.Errorf("there were %d calls", calls)
			}
		})
	}
}

// testDecoratedPanic lets the n-th call of the destination panic, counted from 1. It
// returns false if there were fewer calls.
func testDecoratedPanic(t *testing.T, decorate func(funnel.Destination) funnel.Destination, number int) (hasPanicked bool) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		out := ackingAtMost(fake.NewDestination(j, "out"), 2)
		calls := 0
		count := func() {
			if calls++; calls == number {
				hasPanicked = true
				panic(fake.ErrTest)
			}
		}
		refuse, ask := refusing(out, map[string]int{"2": 1}).OnWrite, out.OnAck
		out.OnWrite = func(ctx context.Context, recs []opencdc.Record) error { count(); return refuse(ctx, recs) }
		out.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) { count(); return ask(ctx) }
		d := decorate(out)
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5")), intoTask(d)), fake.DLQ(j))
		fake.WantNoError(t, w.Open(t.Context()))
		value := fake.PanicOf(func() { _ = w.Do(t.Context()) })
		fake.WantNoError(t, w.Close(t.Context()))
		if !hasPanicked {
			return
		}
		if value != fake.ErrTest || len(j.Lines("ack")) > 0 {
			t.Errorf("call %d: Do panicked with %v, acked: %s", number, value, j.Given("ack"))
		}
		fake.WantNoError(t, d.Open(t.Context()))
		fake.WantNoError(t, d.Write(t.Context(), fake.Records("6", "7", "8")))
		lines, err := askForAcks(t.Context(), d, 3)
		if got := strings.Join(lines, " "); got != "6 7 8" || err != nil {
			t.Errorf("after a panic in call %d: acks %q, %v", number, lines, err)
		}
	})
	return hasPanicked
}

// If a dead-letter queue fails in the middle, everything that it has confirmed before is
// acked, and nothing else.
func TestDestination_decoratedQueueFails(t *testing.T) {
	for name, want := range map[string]map[string]string{
		// What is acked if the queue fails at the n-th call, of Write or of Ack. Ack
		// returns two acks at a time.
		"limited":               {"write 1": "", "ack 1": "", "write 2": "1 2", "ack 2": "1 2", "write 3": "1 2 3 4"},
		"retrying":              {"write 1": "", "ack 1": "", "ack 2": "1 2", "ack 3": "1 2", "write 2": "1 2", "ack 4": "1 2"},
		"limited and retrying":  {"write 1": "", "ack 1": "", "write 2": "1 2", "ack 2": "1 2", "write 3": "1 2", "write 4": "1 2 3 4"},
		"retrying and limited":  {"write 1": "", "ack 1": "", "write 2": "1 2", "ack 2": "1 2", "write 3": "1 2", "write 4": "1 2"},
		"retried one at a time": {"write 1": "", "ack 1": "", "write 2": "1", "ack 2": "1", "write 4": "1 2", "write 5": "1 2 3"},
		"of another ack type":   {"write 1": "", "ack 1": "", "ack 2": "1 2"},
	} {
		for fault, acked := range want {
			t.Run(name+", "+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j := &fake.Journal{}
					queue := ackingAtMost(fake.NewDestination(j, "queue"), 2)
					writes, asks := 0, 0
					refusals := map[string]int{"3": 1}
					if name == "limited" || name == "of another ack type" {
						clear(refusals)
					}
					refuse, ask := refusing(queue, refusals).OnWrite, queue.OnAck
					queue.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
						if writes++; fault == fmt.Sprint("write ", writes) {
							return fake.ErrTest
						}
						return refuse(ctx, recs)
					}
					queue.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) {
						if asks++; fault == fmt.Sprint("ack ", asks) {
							return nil, fake.ErrTest
						}
						return ask(ctx)
					}
					err := fake.Run(t, queueOf(decorators[name](queue)), fake.From(fake.SourceOf(j, "1 2 3 4 5")),
						fake.Through("p", fake.Each(fake.Fail)), fake.Out(j))
					fake.WantError(t, err, fake.ErrTest, `"dlq"`)
					fake.WantFatal(t, err, true)
					if got := j.Given("ack"); got != acked {
						t.Errorf("acked: %q, want %q", got, acked)
					}
				})
			})
		}
	}
}

// Branches that share records see them unchanged, and the others' refusals and pauses do
// not concern them.
func TestDestination_decoratedOnBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		a := refusing(fake.NewDestination(j, "a"), map[string]int{"1": 1, "2": 3, "5": 2})
		b, c := fake.NewDestination(j, "b"), fake.NewDestination(j, "c")
		b.Refuse["4"] = fake.ErrTest
		node := func(id string, d funnel.Destination) *funnel.TaskNode {
			return fake.Node(funnel.NewDestinationTask(id, d, log.Nop(), nil))
		}
		dead := fake.NewDestination(j, "dlq")
		first := fake.Fork(fake.From(fake.SourceOf(j, "1 2 3", "4 5")),
			node("a", retrying(a)), node("b", limitedTo(2)(b)), node("c", limitedTo(2)(retrying(c))))
		w := fake.NewWorker(t, first, fake.Queue(dead))
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.Want(t, "a", "a 1 2 3", "a 1 2", "a 2", "a 4 5", "a 5", "a 5")
		j.Want(t, "b", "b 1 2", "b 3", "b 4 5")
		j.Want(t, "c", "c 1 2", "c 3", "c 4 5")
		j.Want(t, "ack dlq", "ack 1", "dlq 2", "ack 2", "ack 3", "dlq 4", "ack 4", "ack 5")
		fake.WantNack(t, dead.Written[0], "a", "test error of 2, 1 to go")
		fake.WantNack(t, dead.Written[1], "b", fake.ErrTest.Error())
	})
}
