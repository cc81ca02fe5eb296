package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics"
)

// described is a description with every kind of step, and the nodes that it stands for.
func described(j *fake.Journal) (*funnel.Pipeline, *funnel.TaskNode) {
	source := func() funnel.Source { return fake.SourceOf(j, "1 2 3 4", "5 6") }
	each := fake.ByPosition(fake.Answers{"2": fake.Fail, "3": fake.Filter, "5": fake.Split(2)})
	out := func(id string) funnel.Destination { return fake.NewDestination(j, id) }
	route := func(rec opencdc.Record) string { return string(rec.Position[:1]) }
	custom := func() *fake.Task { return &fake.Task{Name: "custom", OnDo: fake.Nothing} }

	short := funnel.To("short", out("short"))
	p := funnel.From("source", source()).
		Through("each", each).
		Fork(
			funnel.Step(custom()).To("first", out("first")).To("second", out("second")),
			funnel.Through("best effort", fake.Each(fake.Fail)).To("lost", out("lost")).BestEffort(),
			funnel.Through("pass", fake.Each(fake.Pass)).Then(funnel.Through("again", fake.Each(fake.Pass))).
				Then(funnel.Route("route", route,
					funnel.When("1", short),
					funnel.Otherwise(funnel.To("others", out("others"))))),
		).
		DeadLetters("dlq", out("dlq"), 100, 5)

	node := funnel.NewRouteTask("route", route,
		funnel.Case{Name: "1", Node: fake.Node(funnel.NewDestinationTask("short", out("short"), log.Nop(), nil))},
		funnel.Default(fake.Node(funnel.NewDestinationTask("others", out("others"), log.Nop(), nil)))).Node()
	lost := fake.Chain(fake.Through("best effort", fake.Each(fake.Fail)), fake.To(fake.NewDestination(j, "lost")))
	lost.BestEffort = true
	byHand := fake.Chain(fake.From(source()), fake.Fork(fake.Through("each", each),
		fake.Chain(fake.Node(custom()), fake.To(fake.NewDestination(j, "first")), fake.To(fake.NewDestination(j, "second"))),
		lost,
		fake.Chain(fake.Through("pass", fake.Each(fake.Pass)), fake.Through("again", fake.Each(fake.Pass)), node),
	))
	return p, byHand
}

// A description makes the nodes that a host would make by hand.
func TestPipeline_byHand(t *testing.T) {
	j := &fake.Journal{}
	p, byHand := described(j)
	w, err := p.Worker()
	if err != nil {
		t.Fatal(err)
	}
	var shape func(n *funnel.TaskNode) string
	shape = func(n *funnel.TaskNode) string {
		next := []string{}
		for _, n := range n.Next {
			next = append(next, shape(n))
		}
		return fmt.Sprintf("%T %s %t %v", n.Task, n.Task.ID(), n.BestEffort, next)
	}
	if got, want := shape(w.FirstTask), shape(byHand); got != want {
		t.Errorf("described: %s\nby hand: %s", got, want)
	}

	lines := func(run func() error) []string {
		j.Clear()
		fake.WantNoError(t, run())
		all := j.Lines("")
		slices.Sort(all) // branches work at the same time
		return all
	}
	got := lines(func() error { return p.Run(t.Context()) })
	dlq := funnel.NewDLQ("dlq", fake.NewDestination(j, "dlq"), log.Nop(), nil, 100, 5)
	want := lines(func() error { return fake.RunWorker(t, fake.NewWorker(t, byHand, dlq)) })
	fake.WantLines(t, got, want...)
	if !slices.Contains(got, "dlq 2") || !slices.Contains(got, "second 1") {
		t.Errorf("the pipeline did: %q", got)
	}
}

// Each call makes a worker of its own, and parts may be used again.
func TestPipeline_again(t *testing.T) {
	j := &fake.Journal{}
	part := funnel.Through("p", fake.Each(fake.Pass))
	out := fake.NewDestination(j, "out")
	for range 2 {
		p := funnel.From("source", fake.SourceOf(j, "1 2")).Then(part).To("out", out)
		fake.WantNoError(t, p.Run(t.Context()))
	}
	part.Through("q", fake.Each(fake.Filter))
	p := funnel.From("source", fake.SourceOf(j, "3")).Then(part).To("out", out)
	fake.WantNoError(t, p.Run(t.Context()))
	j.Want(t, "out ack", "out 1 2", "ack 1 2", "out 1 2", "ack 1 2", "ack 3")
}

func TestPipeline_settings(t *testing.T) {
	j := &fake.Journal{}
	var text strings.Builder
	set, registry := metrics.NewSet(), newMetricsRegistry()
	set.Register(registry)
	timer := &fake.Timer{}
	var wrapped []string
	wrap := func(id string, d funnel.Destination) funnel.Destination {
		wrapped = append(wrapped, id)
		return d
	}
	part := funnel.Through("p", fake.ByPosition(fake.Answers{"2": fake.Fail})).To("out", fake.NewDestination(j, "out")).
		DeadLetters("dlq", fake.NewDestination(j, "dlq"), 0, 0).
		Logger(log.New(zerolog.New(&text))).
		Metrics(funnel.NewMetrics(set), "mine").
		Timer(timer).
		Options(funnel.WithWholeBatches()).Options(funnel.WithPieceIDs()).
		WrapDestinations(wrap).WrapDestinations(wrap)
	fake.WantNoError(t, funnel.From("source", fake.SourceOf(j, "1 2 3")).Then(part).Run(t.Context()))
	j.Want(t, "out dlq ack", "out 1 3", "dlq 2", "ack 1 2 3")
	slices.Sort(wrapped)
	if want := []string{"dlq", "dlq", "out", "out"}; !slices.Equal(wrapped, want) {
		t.Errorf("these were wrapped: %v, want %v", wrapped, want)
	}
	for _, id := range []string{"source", "p", "out", "dlq"} {
		if !strings.Contains(text.String(), `"`+id+`"`) {
			t.Errorf("the log does not name %q:\n%s", id, text.String())
		}
	}
	observed := strings.Join(slices.Sorted(maps.Keys(registry.observed)), " ")
	for _, id := range []string{"source", "p", "out", "dlq"} {
		if !strings.Contains(observed, "pipeline_name=mine") || !strings.Contains(observed, "="+id) {
			t.Errorf("there are no metrics of %q: %s", id, observed)
		}
	}
	if len(timer.Observed) != 3 {
		t.Errorf("the timer was updated %d times", len(timer.Observed))
	}
}

// Without settings nothing is logged or measured, and a nack stops the worker.
func TestPipeline_default(t *testing.T) {
	j := &fake.Journal{}
	err := funnel.From("source", fake.SourceOf(j, "1")).Through("p", fake.Each(fake.Fail)).
		To("out", fake.NewDestination(j, "out")).Run(t.Context())
	fake.WantError(t, err, fake.ErrTest)
	fake.WantTask(t, err, "p")
	j.Want(t, "open teardown", "open source", "open out", "teardown source", "teardown out")
}

func TestPipeline_into(t *testing.T) {
	j := &fake.Journal{}
	sink, err := funnel.NewSink(fake.To(fake.NewDestination(j, "a")), fake.To(fake.NewDestination(j, "b")))
	if err != nil {
		t.Fatal(err)
	}
	fake.WantNoError(t, funnel.From("source", fake.SourceOf(j, "1 2")).Into(sink).Run(t.Context()))
	if j.Given("a") != "1 2" || j.Given("b") != "1 2" {
		t.Errorf("the sink got %q", j.Lines(""))
	}
}

func TestPipeline_complete(t *testing.T) {
	j := &fake.Journal{}
	j2 := &fake.Journal{}
	pass := func() funnel.Processor { return fake.Each(fake.Pass) }
	p := funnel.From("source", fake.SourceOf(j, "1 2")).Fork(
		funnel.Through("p", pass()),
		funnel.To("out", fake.NewDestination(j, "out")),
		funnel.Through("q", pass()).Through("r", pass()),
		funnel.Step(&fake.Task{Name: "custom", OnDo: fake.Nothing}),
	)
	var ends []string
	complete := func(last string) *funnel.Pipeline {
		ends = append(ends, last)
		return funnel.To("after "+last, fake.NewDestination(j2, last))
	}
	fake.WantNoError(t, p.Complete(complete).Complete(complete).Run(t.Context()))
	if !slices.Equal(ends, []string{"p", "r"}) || j2.Given("p") != "1 2" || j2.Given("r") != "1 2" {
		t.Errorf("completed %q, which got %q", ends, j2.Lines(""))
	}
	_, err := funnel.From("source", fake.SourceOf(j)).Complete(func(string) *funnel.Pipeline { return nil }).Worker()
	fake.WantError(t, err, nil, "source", "acked and lost")
	_, err = new(funnel.Pipeline).Complete(complete).Worker()
	fake.WantError(t, err, nil, "empty")
}

// Mistakes are errors of Worker and Run. The first one counts.
func TestPipeline_mistakes(t *testing.T) {
	from := func() *funnel.Pipeline { return funnel.From("source", fake.SourceOf(&fake.Journal{})) }
	out := func() *funnel.Pipeline { return funnel.To("out", fake.NewDestination(&fake.Journal{}, "out")) }
	forked := func() *funnel.Pipeline { return from().Fork(out()) }
	for name, tt := range map[string]struct {
		p    *funnel.Pipeline
		want string
	}{
		"empty":                   {&funnel.Pipeline{}, "empty"},
		"a step after a fork":     {forked().Then(out()), "follows a fork"},
		"a step after a route":    {from().Route("r", func(opencdc.Record) string { return "" }, funnel.Otherwise(out())).To("x", nil), "follows a fork"},
		"a fork after a fork":     {forked().Fork(out()), "a fork follows"},
		"a fork of nothing":       {new(funnel.Pipeline).Fork(out()), "a fork follows nothing"},
		"a fork without branches": {from().Fork(), "no branches"},
		"an empty branch":         {from().Fork(out(), &funnel.Pipeline{}), "branch 1 of the fork is empty"},
		"a nil branch":            {from().Fork(out(), nil), "branch 1 of the fork is empty"},
		"an empty route branch":   {from().Route("r", nil, funnel.When("x", nil)), `branch "x" of the route "r" is empty`},
		"a threshold too high":    {from().Then(out()).DeadLetters("a", nil, 50, 1000), "are they swapped"},
		"a negative window":       {from().Then(out()).DeadLetters("a", nil, -1, 0), "must not be negative"},
		"a negative threshold":    {from().Then(out()).DeadLetters("a", nil, 1, -1), "must not be negative"},
		"two queues":              {from().Then(out()).DeadLetters("a", nil, 0, 0).DeadLetters("b", nil, 0, 0), "two dead-letter queues"},
		"an empty other branch":   {from().Route("r", nil, funnel.Otherwise(nil)), `branch Otherwise of the route "r" is empty`},
		"a nil completion":        {from().Complete(nil), "completes paths is nil"},
		"a nil wrapper":           {from().Then(out()).WrapDestinations(nil), "wraps destinations is nil"},
		"a nil part":              {from().Then(nil), "the part that Then adds is empty"},
		"a nil sink":              {from().Into(nil), "sink is nil"},
		"a sink after nothing":    {new(funnel.Pipeline).Into(nil), "a sink follows nothing"},
		"best effort of nothing":  {new(funnel.Pipeline).BestEffort(), "best effort"},
		"settings of a branch":    {from().Fork(out().Timer(nil)), "whole pipeline"},
		"settings twice":          {from().Timer(nil).Then(out().Timer(nil)), "whole pipeline"},
		"a mistake in a branch":   {from().Fork(out().BestEffort(), forked().Then(out())), "follows a fork"},
		"the first mistake":       {from().Fork().Then(out()), "no branches"},
		"an end":                  {from().Through("p", fake.Each(fake.Pass)), `processor task "p"`},
		"no source":               {out(), "GetSource"},
		"a nil source":            {funnel.From("source", nil).Then(out()), "source"},
		"a nil processor":         {from().Through("p", nil).Then(out()), "processor is nil"},
		"a nil destination":       {from().To("x", nil), "destination is nil"},
		"the same ID":             {from().Then(out()).Then(out()), "more than once"},
		"a nil option":            {from().Then(out()).Options(nil), "option 0 is nil"},
		"a nil task":              {from().Step(nil).Then(out()), "no task"},
		"a route without cases":   {from().Route("r", func(opencdc.Record) string { return "" }), "no cases"},
		"a completed one":         {from().Route("r", func(opencdc.Record) string { return "" }).Complete(func(string) *funnel.Pipeline { return out() }), "no cases"},
	} {
		_, err := tt.p.Worker()
		fake.WantError(t, err, nil, tt.want)
		if err2 := tt.p.Run(t.Context()); err == nil || err2 == nil || err2.Error() != err.Error() {
			t.Errorf("%s: Run returns %v, Worker %v", name, err2, err)
		}
	}
}

// Run closes the worker, whatever happens.
func TestWorker_Run(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(ctx context.Context, b *funnel.Batch) error
		want error
	}{
		"nil":     {fake.Nothing, nil},
		"failed":  {func(context.Context, *funnel.Batch) error { return fake.ErrTest }, fake.ErrTest},
		"ended":   {func(ctx context.Context, _ *funnel.Batch) error { <-ctx.Done(); return ctx.Err() }, context.Canceled},
		"a panic": {func(context.Context, *funnel.Batch) error { panic("no") }, nil},
	} {
		j := &fake.Journal{}
		ctx, cancel := context.WithCancel(t.Context())
		task := &fake.Task{Name: "task", OnDo: func(ctx context.Context, b *funnel.Batch) error {
			cancel()
			return tt.do(ctx, b)
		}}
		out := fake.NewDestination(j, "out")
		out.OnTeardown = func(ctx context.Context) error {
			if ctx.Err() != nil {
				t.Errorf("%s: the context of Close has ended", name)
			}
			return errors.New("cannot close")
		}
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.Node(task), fake.To(out)), nil)
		func() {
			defer func() {
				value := recover()
				if (value != nil) != (name == "a panic") {
					t.Errorf("%s: panicked with %v", name, value)
				}
				if panicked, ok := value.(*funnel.PanicError); value != nil && (!ok || panicked.Value != "no" || !strings.Contains(panicked.Error(), "cannot close")) {
					t.Errorf("%s: panicked with %v", name, value)
				}
			}()
			fake.WantError(t, w.Run(ctx), tt.want, "cannot close")
		}()
		j.Want(t, "teardown", "teardown source", "teardown out")
	}
	j := &fake.Journal{}
	var ending sync.WaitGroup
	ending.Go(func() {
		end := fake.Custom("end", func(context.Context, *funnel.Batch) error { runtime.Goexit(); return nil })
		_ = fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), end), nil).Run(t.Context())
		t.Error("Run has returned")
	})
	ending.Wait()
	j.Want(t, "", "open source", "teardown source")

	j = &fake.Journal{}
	out := fake.NewDestination(j, "out")
	out.OnOpen = func(context.Context) error { return fake.ErrTest }
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(out)), nil)
	fake.WantError(t, w.Run(t.Context()), fake.ErrTest)
	j.Want(t, "", "open source", "open out", "teardown source")
}

// A second Run is an error, and leaves the first one alone.
func TestWorker_runTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := funnel.NewChannelSource(nil)
		w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.Out(&fake.Journal{})), nil)
		var running sync.WaitGroup
		running.Go(func() { fake.WantNoError(t, w.Run(t.Context())) })
		synctest.Wait()
		for range 2 {
			fake.WantError(t, w.Run(t.Context()), funnel.ErrAlreadyRan)
		}
		outcome, err := s.Send(t.Context(), asked("pass"))
		if fake.WantNoError(t, err); outcome != funnel.OutcomeDelivered {
			t.Error(outcome)
		}
		s.Close()
		running.Wait()
		w = fake.NewWorker(t, fake.Chain(fake.From(funnel.SliceSource()), fake.Out(&fake.Journal{})), nil)
		fake.WantNoError(t, w.Do(t.Context()))
		fake.WantError(t, w.Run(t.Context()), funnel.ErrAlreadyRan)
		fake.WantNoError(t, w.Close(t.Context()))
	})
}
