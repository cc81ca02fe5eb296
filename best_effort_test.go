package funnel_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// bestEffort marks a node as best effort.
func bestEffort(node *funnel.TaskNode) *funnel.TaskNode {
	node.BestEffort = true
	return node
}

// failing returns a destination whose n-th write ends in the given way.
func failing(j *fake.Journal, name string, nth int, end func() error) *funnel.TaskNode {
	d := fake.NewDestination(j, name)
	writes := 0
	d.OnWrite = func(context.Context, []opencdc.Record) error {
		if writes++; writes == nth {
			return end()
		}
		return nil
	}
	return fake.To(d)
}

// Failures on a best-effort branch do not affect its records: each is acked, in order,
// once the other branch is done with it. After an error the branch is skipped.
func TestBestEffort(t *testing.T) {
	fails := func() error { return fake.ErrTest }
	exits := func() error { runtime.Goexit(); return nil }
	mute := func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return make([]sdk.ProcessedRecord, len(recs))
	}
	for _, tt := range []struct {
		name   string
		branch func(j *fake.Journal) *funnel.TaskNode
		want   []string // what it got
	}{{
		name:   "a write fails",
		branch: func(j *fake.Journal) *funnel.TaskNode { return failing(j, "best", 2, fails) },
		want:   []string{"best 1 2", "best 3 4"},
	}, {
		name:   "the goroutine ends",
		branch: func(j *fake.Journal) *funnel.TaskNode { return failing(j, "best", 1, exits) },
		want:   []string{"best 1 2"},
	}, {
		name: "no answer",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			return fake.Chain(fake.Through("mute", fake.Processor(mute)), fake.To(fake.NewDestination(j, "best")))
		},
	}, {
		name: "invalid results",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			return fake.Chain(fake.Through("p", fake.Returns()), fake.To(fake.NewDestination(j, "best")))
		},
	}, {
		name: "nacks",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			return fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Fail, "4": fake.Fail, "5": fake.Fail, "6": fake.Fail})),
				fake.To(fake.NewDestination(j, "best")))
		},
		want: []string{"best 2", "best 3"},
	}, {
		name: "a refused record",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			d := fake.NewDestination(j, "best")
			d.Refuse["3"] = fake.ErrTest
			return fake.To(d)
		},
		want: []string{"best 1 2", "best 3 4", "best 5 6"},
	}, {
		name: "an error behind splits, nacks and retries",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			p := fake.ByPosition(fake.Answers{"1": fake.Split(3), "2": fake.SecondTime(fake.Split(2))})
			q := fake.ByPosition(fake.Answers{"1b": fake.Fail})
			return fake.Chain(fake.Through("p", p), fake.Through("q", q), failing(j, "best", 1, fails))
		},
		want: []string{"best 2a 2b"},
	}, {
		name: "an error on a branch below",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			p := fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Split(2)}))
			return fake.Fork(p, failing(j, "best", 2, fails), fake.Custom("other", func(context.Context, *funnel.Batch) error { return nil }))
		},
		want: []string{"best 1a 1b 2", "best 3 4"},
	}, {
		name: "a best-effort branch below",
		branch: func(j *fake.Journal) *funnel.TaskNode {
			return fake.Fork(fake.Through("p", fake.Each(fake.Pass)), bestEffort(failing(j, "inner", 1, fails)), fake.To(fake.NewDestination(j, "best")))
		},
		want: []string{"best 1 2", "best 3 4", "best 5 6"},
	}} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, whole batches: %t", tt.name, whole), func(t *testing.T) {
				fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
					j := &fake.Journal{}
					source := fake.SourceOf(j, "1 2", "3 4", "5 6")
					first := fake.Fork(fake.From(source), fake.Out(j), bestEffort(tt.branch(j)))
					if whole {
						opts = append(opts, funnel.WithWholeBatches())
					}
					w := fake.NewWorker(t, first, fake.Window(fake.NewDestination(j, "dlq"), 10, 0), opts...)
					fake.WantNoError(t, fake.RunWorker(t, w))
					j.WantGiven(t, "1 2 3 4 5 6", "", "1 2 3 4 5 6")
					if len(opts) == 0 { // otherwise batches may be merged, or stay whole
						j.Want(t, "best", tt.want...)
					}
				})
			})
		}
	}
}

// A task on a best-effort branch that settles its batch by Worker.Nack nacks no record
// either.
func TestBestEffort_workerNack(t *testing.T) {
	for _, whole := range []bool{false, true} {
		j := &fake.Journal{}
		var w *funnel.Worker
		nacks := fake.Custom("nacks", func(ctx context.Context, b *funnel.Batch) error { return w.Nack(ctx, b, "nacks") })
		below := fake.Fork(fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Split(2)})), nacks, fake.To(fake.NewDestination(j, "b")))
		var opts []funnel.WorkerOption
		if whole {
			opts = append(opts, funnel.WithWholeBatches())
		}
		w = fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1 2", "3")), fake.Out(j), bestEffort(below)), fake.DLQ(j), opts...)
		fake.WantNoError(t, fake.RunWorker(t, w))
		j.WantGiven(t, "1 2 3", "", "1 2 3")
	}
}

// Nacks on a required branch still count, whatever the best-effort branch does with the
// record, and errors there still stop the worker.
func TestBestEffort_besideRequired(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		out.Refuse["2"] = fake.ErrOf("2")
		writes := 0
		out.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
			if writes += len(recs); writes > 2 {
				return fake.ErrTest
			}
			return nil
		}
		best := bestEffort(fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"1": fake.Fail, "2": fake.Fail})), fake.Custom("end", func(context.Context, *funnel.Batch) error { return nil })))
		w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1 2", "3")), best, fake.To(out)), fake.DLQ(j), opts...)
		err := fake.RunWorker(t, w)
		fake.WantError(t, err, fake.ErrTest, "failed to write")
		fake.WantTask(t, err, "out")
		if ack := j.Given("ack"); !strings.HasPrefix("1 2", ack) {
			t.Errorf("acked %s", ack)
		}
		for _, line := range j.Lines("dlq") {
			if line != "dlq 2" {
				t.Errorf("dead-lettered: %s", line)
			}
		}
	})
}

// A panic on a best-effort branch is still a panic of Do.
func TestBestEffort_panic(t *testing.T) {
	j := &fake.Journal{}
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.Out(j),
		bestEffort(failing(j, "best", 1, func() error { panic("no effort") }))), fake.DLQ(j))
	defer func() {
		if value, ok := recover().(*funnel.PanicError); !ok || value.Value != "no effort" {
			t.Errorf("panicked with %v", value)
		}
		j.Want(t, "ack dlq")
	}()
	_ = fake.RunWorker(t, w)
	t.Error("Do has returned")
}

// If the context of Do ends, Do returns, even if the branch that notices it is best
// effort.
func TestBestEffort_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		best := fake.NewDestination(j, "best")
		best.OnWrite = func(ctx context.Context, _ []opencdc.Record) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")), fake.Out(j), bestEffort(fake.To(best))), fake.DLQ(j))
		fake.WantNoError(t, w.Open(t.Context()))
		fake.WantError(t, w.Do(ctx), context.Canceled)
		fake.WantNoError(t, w.Close(t.Context()))
		j.Want(t, "ack dlq")
	})
}

// A record that is too deep to be copied for a best-effort branch is a failure of that
// branch only.
func TestBestEffort_tooDeep(t *testing.T) {
	j := &fake.Journal{}
	deep := opencdc.StructuredData{}
	for range 11_000 {
		deep = opencdc.StructuredData{"deeper": deep}
	}
	recs := fake.Records("1", "2")
	recs[0].Payload.After = deep
	best := bestEffort(fake.Chain(fake.Through("p", fake.Each(fake.Pass)), fake.To(fake.NewDestination(j, "best"))))
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.NewSource(j, fake.Read{Records: recs}, fake.Read{Records: fake.Records("3")})), best, fake.Out(j)), fake.DLQ(j))
	fake.WantNoError(t, fake.RunWorker(t, w))
	j.WantGiven(t, "1 2 3", "", "1 2 3")
	j.Want(t, "best")
}

// The worker logs once that it skips a branch, with its task and the reason.
func TestBestEffort_log(t *testing.T) {
	j := &fake.Journal{}
	var lines bytes.Buffer
	first := fake.Fork(fake.From(fake.SourceOf(j, "1", "2", "3")), fake.Out(j),
		bestEffort(fake.Chain(fake.Through("audit", fake.Each(fake.Pass)), failing(j, "store", 2, func() error { return fake.ErrTest }))))
	w, err := funnel.NewWorker(first, nil, log.New(zerolog.New(&lines)), nil)
	fake.WantNoError(t, err)
	fake.WantNoError(t, fake.RunWorker(t, w))
	var warnings []string
	for _, line := range strings.Split(strings.TrimSpace(lines.String()), "\n") {
		if strings.Contains(line, `"level":"warn"`) {
			warnings = append(warnings, line)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "audit") || !strings.Contains(warnings[0], fake.ErrTest.Error()) {
		t.Errorf("logged %s", warnings)
	}
}

// Only the first node of a branch may be best effort, and not on all branches.
func TestBestEffort_invalid(t *testing.T) {
	j := &fake.Journal{}
	to := func(name string) *funnel.TaskNode { return fake.To(fake.NewDestination(j, name)) }
	from := func() *funnel.TaskNode { return fake.From(fake.SourceOf(j)) }
	for words, first := range map[string]*funnel.TaskNode{
		`"source" cannot be best effort`:                                     bestEffort(fake.Chain(from(), to("out"))),
		`a single task after task "source" cannot be best effort`:            fake.Chain(from(), bestEffort(to("out"))),
		`all branches after task "source" are best effort`:                   fake.Fork(from(), bestEffort(to("a")), bestEffort(to("b"))),
		`a single task after task "a" cannot be best effort: it does not be`: fake.Fork(from(), fake.Chain(fake.Custom("a", nil), bestEffort(to("b"))), to("c")),
	} {
		_, err := funnel.NewWorker(first, nil, log.Nop(), nil)
		fake.WantError(t, err, nil, words)
	}
}
