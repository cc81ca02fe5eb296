package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// Stats name what is being opened and closed, one after the other, also if it fails or
// panics.
func TestWithStats_lifecycle(t *testing.T) {
	for _, isOn := range []bool{true, false} {
		t.Run(fmt.Sprint(isOn), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				s, out, queue := fake.SourceOf(j, "1"), fake.NewDestination(j, "out"), fake.NewDestination(j, "dlq")
				var opts []funnel.WorkerOption
				if isOn {
					opts = append(opts, funnel.WithStats())
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(s), fake.To(out)), fake.Queue(queue), opts...)
				var seen []string
				look := func() {
					for _, task := range w.Stats().Tasks {
						seen = append(seen, fmt.Sprintf("%s %s %v", task.ID, task.Activity, time.Since(task.Since)))
					}
				}
				slowly := func(end func() error) func(context.Context) error {
					return func(context.Context) error { time.Sleep(time.Second); look(); return end() }
				}
				fine := func() error { return nil }
				s.OnOpen, out.OnOpen, queue.OnOpen = slowly(fine), slowly(fine), slowly(fine)
				s.OnTeardown = slowly(fine)
				queue.OnTeardown = slowly(func() error { panic(io.ErrUnexpectedEOF) })
				out.OnTeardown = slowly(func() error { return fake.ErrTest })
				func() {
					defer func() { _ = recover() }()
					if err := w.Run(t.Context()); !errors.Is(err, fake.ErrTest) {
						t.Errorf("got %v", err)
					}
				}()
				want := fmt.Sprintf("%s opening 1s, out opening 1s, dlq opening 1s, %[1]s closing 1s, dlq closing 1s, out closing 1s", w.FirstTask.Task.ID())
				if !isOn {
					want = ""
				}
				if got := strings.Join(seen, ", "); got != want {
					t.Errorf("saw %s, want %s", got, want)
				}
				seen = nil
				look()
				if len(seen) != 0 {
					t.Errorf("at the end: %s", seen)
				}
			})
		})
	}
}
