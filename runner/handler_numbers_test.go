package runner_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/runner"
)

// status.json and the page say the same: each count, which differs from all others, and when.
func TestHandler_everyNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		runs := 0
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			runs++
			isFirst, reads := runs == 1, 0
			s, d := newSource(), newDestination()
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				switch reads++; {
				case isFirst && reads == 1:
					return records("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"), nil
				case isFirst:
					time.Sleep(time.Second)
					return nil, errTest
				case reads == 1:
					return records("12", "13", "14", "15", "16", "17"), nil
				case reads == 2:
					time.Sleep(time.Second) // so that it is a batch of its own
					return records("18", "19", "20", "21", "22", "23", "24"), nil
				}
				return s.wait(ctx)
			}
			d.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
				if !isFirst {
					<-ctx.Done()
					return ctx.Err()
				}
				for i, rec := range recs {
					if rec.Position[0] == '3' { // both pieces
						d.acks[i].Error = errTest
					}
				}
				return nil
			}
			p := fake.ByPosition(fake.Answers{
				"1": fake.Filter, "2": fake.Filter, "3": fake.Split(2), "4": fake.Fail, "5": fake.Fail,
				"6": fake.SecondTime(fake.SecondTime(fake.Pass)), "7": fake.SecondTime(fake.SecondTime(fake.Pass)), "8": fake.SecondTime(fake.Pass),
			})
			lag := func(context.Context) (int64, time.Duration, error) { return 99, 2 * time.Minute, nil }
			return funnel.From("in", &lagging{s, lag}).Through("p", p).To("out", d).
				DeadLetters("dlq", newDestination(), 0, 0).
				Options(funnel.WithStats(), funnel.WithReadAhead(10)).Worker()
		}), runner.WithRestart(runner.Restart{InitialInterval: 10 * time.Second, Jitter: -1}))
		time.Sleep(31 * time.Second)
		h := w.Handler()
		s := wantOverview(t, h).Pipelines[0]
		if want := (runner.Records{
			Read: 24, Acked: 11, DeadLettered: 3, Filtered: 2, Nacked: 4, Retried: 5, Batches: 1, InFlight: 6, Waiting: 7,
		}); s.Records != want {
			t.Errorf("got %+v, want %+v", s.Records, want)
		}
		begin := time.Now().Add(-31 * time.Second)
		if s.State != runner.Running || s.Restarts != 1 || s.Attempt != 1 || !s.Since.Equal(begin.Add(11*time.Second)) ||
			!s.LastErrorAt.Equal(begin.Add(time.Second)) || s.LastAck.Sub(begin).Round(time.Second) != 0 {
			t.Errorf("got %+v", s)
		}
		wantPage(t, h, "/", 200, "● running", ">20s<", "failed runs in a row: 1",
			"<li>24 read<", "<li>11 acked<", "<li>3 dead-lettered<", "<li>2 filtered<", "<li>4 nacked<", "<li>5 retried<",
			"<li>1 batches<", "<li>6 in flight<", "<li>7 waiting<", "in: 99 records, 2m behind", `<td class="number">1</td>`,
			`<td><time datetime="2000-01-01T00:00:00Z" title="2000-01-01T00:00:00Z">30s ago</time></td>`,
			`<td><time datetime="2000-01-01T00:00:01Z" title="2000-01-01T00:00:01Z">30s ago</time>`+"\n"+
				`<span class="text">task &#34;in&#34;: failed to read from source: test error</span></td>`,
			"out is working")
		want(t, w.end())
	})
}
