package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// asked is a record whose payload says what is to become of it.
func asked(what string) opencdc.Record {
	return opencdc.Record{Payload: opencdc.Change{After: opencdc.RawData(what)}}
}

// obeying does with each record what its payload says.
var obeying = fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
	switch what := string(rec.Payload.After.Bytes()); {
	case what == "filter":
		return sdk.FilterRecord{}
	case what == "nack":
		return sdk.ErrorRecord{Error: fake.ErrTest}
	case strings.HasPrefix(what, "split"):
		return sdk.MultiRecord{asked(what[len("split "):]), asked("pass")}
	default:
		return sdk.SingleRecord(rec)
	}
})

// sending runs a pipeline of the channel source and the nodes, with a queue, and a function
// beside it. It returns what Do returned.
func sending(t *testing.T, s *funnel.ChannelSource, beside func(w *funnel.Worker), first *funnel.TaskNode, opts ...funnel.WorkerOption) error {
	t.Helper()
	w := fake.NewWorker(t, first, fake.DLQ(&fake.Journal{}), opts...)
	var running sync.WaitGroup
	running.Go(func() { beside(w) })
	err := fake.RunWorker(t, w)
	running.Wait()
	return err
}

func TestChannelSource_outcomes(t *testing.T) {
	out := func(id string) *funnel.TaskNode { return fake.To(fake.NewDestination(&fake.Journal{}, id)) }
	through := func(id string) *funnel.TaskNode { return fake.Through(id, obeying) }
	pipelines := map[string]func() *funnel.TaskNode{
		"linear":      func() *funnel.TaskNode { return fake.Chain(through("p"), out("out")) },
		"twice":       func() *funnel.TaskNode { return fake.Chain(through("p"), through("q"), out("out")) },
		"on a branch": func() *funnel.TaskNode { return fake.Fork(through("p"), out("a"), out("b")) },
		"on all branches": func() *funnel.TaskNode {
			return fake.Fork(fake.Custom("fork", fake.Nothing), fake.Chain(through("p"), out("a")), fake.Chain(through("q"), out("b")))
		},
		"beside a best-effort branch that filters": func() *funnel.TaskNode {
			all := fake.Through("all", fake.Each(fake.Filter))
			all.BestEffort = true
			return fake.Fork(fake.Custom("fork", fake.Nothing), fake.Chain(all, out("a")), fake.Chain(through("p"), out("b")))
		},
		"beside a best-effort branch that nacks": func() *funnel.TaskNode {
			all := fake.Through("all", fake.Each(fake.Fail))
			all.BestEffort = true
			return fake.Fork(through("p"), fake.Chain(all, out("a")), out("b"))
		},
		"routed": func() *funnel.TaskNode {
			return funnel.NewRouteTask("route", func(rec opencdc.Record) string { return string(rec.Payload.After.Bytes()) },
				funnel.Case{Name: "filter", Node: fake.Chain(through("p"), out("a"))},
				funnel.Default(fake.Chain(through("q"), out("b")))).Node()
		},
		"acked by a task": func() *funnel.TaskNode { return fake.Chain(through("p"), fake.Custom("end", fake.Nothing)) },
	}
	want := map[string]string{
		"pass": "delivered", "filter": "filtered", "nack": "dead-lettered", "split pass": "delivered",
		"split nack": "dead-lettered", "split filter": "delivered",
	}
	for name, pipeline := range pipelines {
		for option, opts := range map[string][]funnel.WorkerOption{
			"": nil, "whole batches": {funnel.WithWholeBatches()}, "read-ahead": fake.Ahead(5),
			"ownership checks": {funnel.WithOwnershipChecks(func(err error) { t.Error(err) })},
		} {
			t.Run(name+"/"+option, func(t *testing.T) {
				s := funnel.NewChannelSource(nil)
				err := sending(t, s, func(*funnel.Worker) {
					var senders sync.WaitGroup
					for what, outcome := range want {
						if what == "split filter" && name == "twice" {
							continue // the second processor filters only the piece
						}
						if strings.HasPrefix(what, "split ") && (name != "twice") {
							outcome = "delivered" // nobody looks at the pieces
						}
						for range 20 {
							senders.Go(func() {
								got, err := s.Send(t.Context(), asked(what))
								if got.String() != outcome {
									t.Errorf("%s: %v, want %s (%v)", what, got, outcome, err)
								}
								if outcome == "dead-lettered" {
									fake.WantError(t, err, fake.ErrTest)
									var task *funnel.TaskError
									if !errors.As(err, &task) || !slices.Contains([]string{"p", "q"}, task.TaskID) {
										t.Errorf("%s: %v", what, err)
									}
								} else {
									fake.WantNoError(t, err)
								}
							})
						}
					}
					senders.Wait()
					s.Close()
				}, fake.Chain(fake.From(s), pipeline()), opts...)
				fake.WantNoError(t, err)
			})
		}
	}
}

// When a worker ends, nobody waits any longer.
func TestChannelSource_notDelivered(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(context.Context) error
		want error
	}{
		"an error":    {func(context.Context) error { return fake.ErrTest }, fake.ErrTest},
		"a panic":     {func(context.Context) error { panic("no") }, nil},
		"goexit":      {func(context.Context) error { runtime.Goexit(); return nil }, nil},
		"the context": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, context.Canceled},
	} {
		fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
			s := funnel.NewChannelSource(nil)
			out := fake.NewDestination(&fake.Journal{}, "out")
			out.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { return tt.do(ctx) }
			w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), nil, opts...)
			ctx, cancel := context.WithCancel(t.Context())
			var senders sync.WaitGroup
			for range 10 {
				senders.Go(func() {
					outcome, err := s.Send(t.Context(), asked("pass"))
					fake.WantError(t, err, funnel.ErrNotDelivered)
					if outcome != funnel.OutcomeUnknown || tt.want != nil && !errors.Is(err, tt.want) {
						t.Errorf("%s: %v, %v", name, outcome, err)
					}
				})
			}
			synctest.Wait()
			var running sync.WaitGroup
			running.Go(func() {
				defer func() { _ = recover() }()
				_ = w.Do(ctx)
			})
			synctest.Wait()
			cancel()
			running.Wait()
			senders.Wait() // before Close
			_, err := s.Send(t.Context(), asked("pass"))
			fake.WantError(t, err, funnel.ErrNotDelivered)
			fake.WantNoError(t, w.Close(t.Context()))
		})
	}
}

// Senders wait for the first worker, and those that come between two workers do not.
func TestChannelSource_nextWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(nil)
		worker := func() *funnel.Worker {
			return fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(&fake.Journal{})), nil)
		}
		for _, open := range []bool{true, false} {
			var running sync.WaitGroup
			w := worker()
			if open {
				fake.WantNoError(t, w.Open(t.Context()))
			}
			running.Go(func() { fake.WantNoError(t, w.Do(t.Context())) })
			synctest.Wait()
			outcome, err := s.Send(t.Context(), asked("pass"))
			if fake.WantNoError(t, err); outcome != funnel.OutcomeDelivered {
				t.Error(outcome)
			}
			fake.WantNoError(t, w.Stop(t.Context()))
			running.Wait()
			_, err = s.Send(t.Context(), asked("pass"))
			fake.WantError(t, err, funnel.ErrNotDelivered)
			if _, err := s.Read(t.Context()); err == nil {
				t.Error("a source that was torn down was read")
			}
			fake.WantNoError(t, w.Close(t.Context()))
			fake.WantNoError(t, s.Open(t.Context())) // as another worker may do that runs without Open
		}
		s.Close()
		_, err := s.Send(t.Context(), asked("pass"))
		fake.WantError(t, err, funnel.ErrNotDelivered, "closed")
	})
}

func TestChannelSource_sendersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(nil)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, fake.ErrTest)
		defer cancel()
		_, err := s.Send(ctx, asked("pass")) // nobody takes it
		fake.WantError(t, err, context.DeadlineExceeded)
		fake.WantError(t, err, fake.ErrTest)

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out := fake.SlowDestination(&fake.Journal{}, "out", time.Minute)
		fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {
			_, err := s.Send(ctx, asked("pass"))
			fake.WantError(t, err, context.DeadlineExceeded)
			s.Close()
		}, fake.Chain(fake.From(s), fake.To(out))))
		if len(out.Written) != 1 {
			t.Errorf("%d records were written", len(out.Written))
		}
	})
}

// Records from the channel keep their order. Their positions are their numbers, unless
// they have positions. What was sent while a batch is in flight is the next batch.
func TestChannelSource_channel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := make(chan opencdc.Record, 3000)
		s := funnel.NewChannelSource(records)
		j := &fake.Journal{}
		out := fake.SlowDestination(j, "out", time.Second)
		fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {
			records <- asked("pass")
			synctest.Wait()
			records <- fake.Records("own")[0]
			for range 2499 {
				records <- asked("pass")
			}
			close(records)
		}, fake.Chain(fake.From(s), fake.To(out))))
		lines := j.Lines("out")
		sizes := []int{}
		for _, line := range lines {
			sizes = append(sizes, len(strings.Fields(line))-1)
		}
		if !slices.Equal(sizes, []int{1, 1000, 1000, 500}) {
			t.Errorf("the batches had %v records", sizes)
		}
		if lines[0] != "out 1" || !strings.HasPrefix(lines[1], "out own 3 4 ") || !strings.HasPrefix(lines[2], "out 1002 1003 ") {
			t.Errorf("the batches were %.20q", lines)
		}
		_, err := s.Read(t.Context())
		if err == nil {
			t.Error("it was read after the teardown")
		}
		fake.WantNoError(t, s.Open(t.Context()))
		if _, err := s.Read(t.Context()); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Close lets the worker take what is in the channel.
func TestChannelSource_close(t *testing.T) {
	records := make(chan opencdc.Record, 10)
	s := funnel.NewChannelSource(records)
	for range 10 {
		records <- asked("pass")
	}
	s.Close()
	s.Close()
	out := fake.NewDestination(&fake.Journal{}, "out")
	fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {}, fake.Chain(fake.From(s), fake.To(out))))
	if len(out.Written) != 10 {
		t.Errorf("%d records were written", len(out.Written))
	}
}

// A read waits, until its context ends or the source is torn down.
func TestChannelSource_read(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(make(chan opencdc.Record))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Read(ctx)
		fake.WantError(t, err, context.DeadlineExceeded)
		time.AfterFunc(time.Second, func() { _ = s.Teardown(t.Context()) })
		if recs, err := s.Read(t.Context()); err == nil || err == io.EOF || len(recs) > 0 {
			t.Errorf("the read that was torn down: %v, %v", recs, err)
		}
	})
}

// hidden hides what the source is, wrapping embeds it.
type (
	hidden   struct{ funnel.Source }
	wrapping struct{ *funnel.ChannelSource }
)

func TestChannelSource_wrapped(t *testing.T) {
	for _, tt := range []struct {
		wrap func(*funnel.ChannelSource) funnel.Source
		want funnel.Outcome
	}{
		{func(s *funnel.ChannelSource) funnel.Source { return hidden{s} }, funnel.OutcomeUnknown},
		{func(s *funnel.ChannelSource) funnel.Source { return wrapping{s} }, funnel.OutcomeFiltered},
		{func(s *funnel.ChannelSource) funnel.Source {
			return funnel.NewBatchingSource(wrapping{s}, funnel.BatchPolicy{})
		}, funnel.OutcomeFiltered},
	} {
		s := funnel.NewChannelSource(nil)
		fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {
			outcome, err := s.Send(t.Context(), asked("filter"))
			if fake.WantNoError(t, err); outcome != tt.want {
				t.Errorf("%v, want %v", outcome, tt.want)
			}
			s.Close()
		}, fake.Chain(fake.From(tt.wrap(s)), fake.Through("p", obeying), fake.Out(&fake.Journal{}))))
	}
}

// Positions that the source does not know are ignored.
func TestChannelSource_strangeAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(nil)
		var senders sync.WaitGroup
		got := make([]string, 3)
		for i := range got {
			senders.Go(func() {
				rec := asked("pass")
				rec.Position = fmt.Append(nil, "at ", i)
				outcome, err := s.Send(t.Context(), rec)
				got[i] = fmt.Sprint(outcome, err)
			})
			synctest.Wait()
		}
		recs, err := s.Read(t.Context())
		for fake.WantNoError(t, err); len(recs) < 3; {
			more, err := s.Read(t.Context())
			fake.WantNoError(t, err)
			recs = append(recs, more...)
		}
		slices.SortFunc(recs, func(a, b opencdc.Record) int { return strings.Compare(string(a.Position), string(b.Position)) })
		fake.WantNoError(t, s.Ack(t.Context(), []opencdc.Position{opencdc.Position("nowhere"), recs[2].Position}))
		fake.WantNoError(t, s.Teardown(t.Context()))
		senders.Wait()
		if !slices.Equal(got, []string{"unknown not delivered", "unknown not delivered", "unknown <nil>"}) {
			t.Errorf("%q", got)
		}
	})
}

// What was read from the channel and not acked is read again, first, as it was.
func TestChannelSource_unacked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := make(chan opencdc.Record, 3000)
		for i := range 2500 {
			rec := asked("pass")
			rec.Metadata = opencdc.Metadata{"n": fmt.Sprint(i)}
			records <- rec
		}
		s := funnel.NewChannelSource(records)
		spoil := func() *funnel.TaskNode {
			return fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
				rec.Metadata["n"] += "!"
				return sdk.SingleRecord(rec)
			}))
		}
		var got []string
		for _, how := range []string{"error", "stop", "read twice", "ok"} {
			out := fake.NewDestination(&fake.Journal{}, "out")
			writes := 0
			var w *funnel.Worker
			out.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
				if writes++; writes == 1 && how == "error" {
					return fake.ErrTest
				}
				for _, rec := range recs {
					got = append(got, rec.Metadata["n"])
				}
				if how == "stop" {
					go func() { _ = w.Stop(t.Context()) }()
					synctest.Wait() // it waits for this batch
				}
				return nil
			}
			if how == "read twice" {
				fake.WantNoError(t, s.Open(t.Context()))
				for range 2 {
					_, err := s.Read(t.Context())
					fake.WantNoError(t, err)
				}
				fake.WantNoError(t, s.Teardown(t.Context()))
				continue
			}
			if how == "ok" {
				s.Close()
			}
			w = fake.NewWorker(t, fake.Chain(fake.From(s), spoil(), fake.To(out)), nil)
			_ = fake.RunWorker(t, w)
		}
		for i, n := range got {
			if n != fmt.Sprint(i, "!") {
				t.Fatalf("record %d is %q", i, n)
			}
		}
		if len(got) != 2500 {
			t.Errorf("%d records were written", len(got))
		}
	})
}

// If a worker cannot be made or opened, nobody waits for it, and a later worker runs.
func TestChannelSource_neverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(nil)
		broken := fake.NewDestination(&fake.Journal{}, "broken")
		broken.OnOpen = func(context.Context) error { return fake.ErrTest }
		for name, run := range map[string]func() error{
			"NewWorker": func() error { _, err := funnel.From("s", s).To("out", nil).Worker(); return err },
			"Pipeline":  func() error { _, err := funnel.From("s", s).Fork().Worker(); return err },
			"Then":      func() error { return new(funnel.Pipeline).Then(funnel.From("s", s).Fork()).Run(t.Context()) },
			"Step": func() error {
				return funnel.Step(funnel.NewSourceTask("s", s, log.Nop(), nil)).Fork().Run(t.Context())
			},
			"Open": func() error { return funnel.From("s", s).To("out", broken).Run(t.Context()) },
		} {
			fake.WantNoError(t, s.Open(t.Context()))
			var sender sync.WaitGroup
			var sent error
			sender.Go(func() { _, sent = s.Send(t.Context(), asked("pass")) })
			synctest.Wait()
			err := run()
			sender.Wait()
			if fake.WantError(t, sent, funnel.ErrNotDelivered); err == nil || sent == nil || !strings.Contains(sent.Error(), err.Error()) {
				t.Errorf("%s: Send returns %v, want %v in it", name, sent, err)
			}
		}
		fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {
			synctest.Wait()
			_, err := s.Send(t.Context(), asked("pass"))
			fake.WantNoError(t, err)
			s.Close()
		}, fake.Chain(fake.From(s), fake.Out(&fake.Journal{}))))
	})
}

// A record that cannot be copied does not hold up the others.
func TestChannelSource_tooDeep(t *testing.T) {
	records := make(chan opencdc.Record, 3)
	records <- asked("pass")
	records <- nested("", 20_000)
	records <- asked("pass")
	close(records)
	out := fake.NewDestination(&fake.Journal{}, "out")
	s := funnel.NewChannelSource(records)
	fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {}, fake.Chain(fake.From(s), fake.To(out))))
	if len(out.Written) != 3 {
		t.Errorf("%d records were written", len(out.Written))
	}
}

// Acks that come ahead of others, as those of Worker.Ack may, say nothing about the others.
func TestChannelSource_acksAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := make(chan opencdc.Record, 3)
		s := funnel.NewChannelSource(records)
		var sender sync.WaitGroup
		sender.Go(func() {
			outcome, err := s.Send(t.Context(), asked("sent"))
			if fake.WantNoError(t, err); outcome != funnel.OutcomeUnknown {
				t.Errorf("it was acked by hand: %v", outcome)
			}
		})
		synctest.Wait()
		first, err := s.Read(t.Context())
		fake.WantNoError(t, err)
		records <- asked("plain")
		records <- asked("ahead")
		second, err := s.Read(t.Context())
		fake.WantNoError(t, err)
		fake.WantNoError(t, s.Ack(t.Context(), []opencdc.Position{second[1].Position}))
		fake.WantNoError(t, s.Ack(t.Context(), []opencdc.Position{first[0].Position}))
		sender.Wait()
		fake.WantNoError(t, s.Teardown(t.Context()))
		fake.WantNoError(t, s.Open(t.Context()))
		again, err := s.Read(t.Context())
		if fake.WantNoError(t, err); len(again) != 1 || string(again[0].Payload.After.Bytes()) != "plain" {
			t.Errorf("these are read again: %v", again)
		}
	})
}

// late acks what the call before was to ack.
type late struct {
	*funnel.ChannelSource
	last []opencdc.Position
}

func (s *late) Ack(ctx context.Context, positions []opencdc.Position) error {
	err := s.ChannelSource.Ack(ctx, s.last)
	s.last = positions
	return err
}

func TestChannelSource_lateAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(nil)
		fake.WantNoError(t, sending(t, s, func(*funnel.Worker) {
			var senders sync.WaitGroup
			for _, what := range []string{"pass", "nack", "filter", "end"} {
				senders.Go(func() {
					outcome, _ := s.Send(t.Context(), asked(what))
					want := map[string]string{"pass": "delivered", "nack": "dead-lettered", "filter": "filtered", "end": "unknown"}
					if outcome.String() != want[what] {
						t.Errorf("%s: %v", what, outcome)
					}
				})
				synctest.Wait()
			}
			s.Close()
			senders.Wait()
		}, fake.Chain(fake.From(&late{ChannelSource: s}), fake.Through("p", obeying), fake.Out(&fake.Journal{}))))
	})
}
