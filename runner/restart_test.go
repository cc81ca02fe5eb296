package runner_test

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

// The classifier has the last word, unless it leaves the decision to IsFatalError.
func TestWithClassifier(t *testing.T) {
	returns := func(c runner.Class) func(error) runner.Class {
		return func(error) runner.Class { return c }
	}
	for name, tt := range map[string]struct {
		classify         func(error) runner.Class
		onPlain, onFatal runner.State
	}{
		"none":         {nil, runner.Recovering, runner.Degraded},
		"unclassified": {returns(runner.Unclassified), runner.Recovering, runner.Degraded},
		"transient":    {returns(runner.Transient), runner.Recovering, runner.Recovering},
		"fatal":        {returns(runner.Fatal), runner.Degraded, runner.Degraded},
		"unknown":      {returns(runner.Fatal + 1), runner.Recovering, runner.Degraded},
		"panics":       {func(error) runner.Class { panic("classifier") }, runner.Recovering, runner.Degraded},
		"exits":        {func(error) runner.Class { runtime.Goexit(); return runner.Fatal }, runner.Recovering, runner.Degraded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var opts []runner.PipelineOption
				if tt.classify != nil {
					opts = append(opts, runner.WithClassifier(tt.classify))
				}
				w.add("plain", failingRead(errTest), opts...)
				w.add("fatal", failingRead(funnel.FatalError(errTest)), opts...)
				synctest.Wait()
				w.wantState("plain", tt.onPlain)
				w.wantState("fatal", tt.onFatal)
				want(t, w.end())
			})
		})
	}
}
