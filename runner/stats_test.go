package runner_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/runner"
)

// Stats are sums over the workers, with the fullest of the windows.
func TestStats_sums(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("x", func(context.Context) (parts runner.Parts, err error) {
			// Each worker acks a batch, of which some records are dead letters, and then hangs.
			for _, nacks := range []int{1, 3, 2, 0} {
				s := newSource()
				reads := 0
				s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
					time.Sleep(time.Second)
					if reads++; reads > 2 {
						return s.wait(ctx)
					}
					return records("1", "2", "3", "4"), nil
				}
				d := newDestination()
				writes := 0
				d.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
					if writes++; writes > 1 {
						<-ctx.Done()
						return ctx.Err()
					}
					for i := range nacks {
						d.acks[i] = connector.DestinationAck{Position: recs[i].Position, Error: errTest}
					}
					return nil
				}
				p := funnel.From("in", s).To("out", d).Options(funnel.WithStats())
				if nacks > 0 {
					size := 10 * nacks
					p = p.DeadLetters("dlq", newDestination(), size, size/2)
				}
				if nacks == 3 { // of which most are tolerated
					p = funnel.From("in", s).To("out", d).Options(funnel.WithStats()).DeadLetters("dlq", newDestination(), 8, 4)
				}
				worker, err := p.Worker()
				if err != nil {
					return parts, err
				}
				parts.Workers = append(parts.Workers, worker)
			}
			return parts, nil
		})
		time.Sleep(2500 * time.Millisecond)
		all := maps.Collect(w.Stats())
		s := all["x"]
		if len(all) != 1 || s.Read != 32 || s.Acked != 16 || s.DeadLettered != 6 || s.Nacked != 6 || s.Batches != 4 ||
			s.InFlight != 16 || len(s.Tasks) != 4 || time.Since(s.LastAck) != 1500*time.Millisecond {
			t.Errorf("got %+v", all)
		}
		if want := (funnel.NackWindow{Size: 8, Threshold: 4, Nacks: 3}); s.Window != want {
			t.Errorf("the window is %+v, want %+v", s.Window, want)
		}
		want(t, w.end())
		if all := maps.Collect(w.Stats()); len(all) != 0 {
			t.Errorf("without a run: %+v", all)
		}
	})
}

// Stats are of the current run, but the last ack may be of an earlier one. A pipeline that
// hangs does not hold up Stats, and a slow loop over Stats does not hold up a pipeline.
func TestStats_runs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		hang := func() { <-release }
		w.add("a", build(func(s *source, _ *destination) {
			s.single("1", "2")
			read := s.OnRead
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) { time.Sleep(time.Second); return read(ctx) }
		}))
		w.add("b", build(func(s *source, _ *destination) {
			s.single("1")
			s.OnAck = func(context.Context, []opencdc.Position) error { hang(); return nil }
		}))
		w.add("c", build(func(s *source, _ *destination) { s.OnOpen = func(context.Context) error { hang(); return nil } }))
		w.add("d", func(context.Context) (runner.Parts, error) { hang(); return runner.Parts{}, errTest })
		w.add("e", build(nil), runner.WithoutAutoStart())
		time.Sleep(1500 * time.Millisecond)
		begun := time.Now()
		names := fmt.Sprint(slices.Sorted(maps.Keys(maps.Collect(w.Stats()))))
		if names != "[a b c d]" || time.Since(begun) != 0 {
			t.Errorf("after %v: %v", time.Since(begun), names)
		}
		var seen []string
		for name, s := range w.Stats() {
			seen = append(seen, name)
			if s.Acked != 2 || s.LastAck.IsZero() {
				t.Errorf("%s: %+v", name, s)
			}
			want(t, w.Restart(t.Context(), "a"))
			want(t, w.Remove(t.Context(), "e"))
			break
		}
		if fmt.Sprint(seen) != "[a]" {
			t.Errorf("saw %v", seen)
		}
		synctest.Wait()
		if s := maps.Collect(w.Stats())["a"]; s.Acked != 0 || !s.LastAck.Equal(begun.Add(-500*time.Millisecond)) {
			t.Errorf("after a restart: %+v", s)
		}
		close(release)
		_ = w.end() // the error of building d, if the stop comes later
	})
}
