package funnel_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// reporter is a destination with an ID and with background errors.
type reporter struct {
	*fake.Destination
	errs chan error
}

func (r *reporter) ID() string { return "ID of " + r.Name }

func (r *reporter) Errors() <-chan error {
	r.Add("errors", r.Name)
	return r.errs
}

// newReporting returns a destination of two reporters and those of the last Open.
func newReporting(prepare func(lane int, r *reporter)) (*partitioned, *[2]*reporter) {
	lanes := &[2]*reporter{}
	p := &partitioned{Journal: &fake.Journal{}}
	p.Destination = funnel.NewPartitionedDestination(2, keyOf, func(lane int) (funnel.Destination, error) {
		r := &reporter{Destination: fake.NewDestination(p.Journal, fmt.Sprint("lane", lane)), errs: make(chan error)}
		if prepare != nil {
			prepare(lane, r)
		}
		lanes[lane] = r
		return r, nil
	})
	return p, lanes
}

// The ID is that of lane 0 while the destination is open.
func TestPartitionedDestination_id(t *testing.T) {
	p, _ := newReporting(nil)
	for range 2 {
		if id := p.ID(); id != "" {
			t.Errorf("the ID is %q while it is not open", id)
		}
		fake.WantNoError(t, p.Open(t.Context()))
		if id := p.ID(); id != "ID of lane0" {
			t.Errorf("the ID is %q", id)
		}
		fake.WantNoError(t, p.Teardown(t.Context()))
	}
	if id := p.ID(); id != "" {
		t.Errorf("the ID is %q after Teardown", id)
	}
}

// wantReported fails the test unless an error of each lane is passed on.
func wantReported(t *testing.T, errs <-chan error, lanes *[2]*reporter) {
	t.Helper()
	for _, lane := range lanes {
		for n := range 2 {
			want := fmt.Errorf("error %d of %s", n, lane.Name)
			go func() { lane.errs <- want }()
			if got := <-errs; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
	}
}

// The channel passes on the errors of all lanes, whether the host asks for it before or
// after Open, also after another Open. It is one channel. Its goroutines end at Teardown.
func TestPartitionedDestination_errors(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		synctest.Test(t, func(t *testing.T) {
			p, lanes := newReporting(nil)
			var errs <-chan error
			if when == "before" {
				errs = p.Errors()
			}
			for range 2 {
				fake.WantNoError(t, p.Open(t.Context()))
				if errs == nil {
					p.Want(t, "errors")
					errs = p.Errors()
				}
				wantReported(t, errs, lanes)
				p.Want(t, "errors", "errors lane0", "errors lane1")
				p.Clear()
				if p.Errors() != errs {
					t.Error("there is another channel")
				}
				fake.WantNoError(t, p.Teardown(t.Context()))
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				if bytes.Contains(stacks, []byte("passOn")) {
					t.Errorf("goroutines:\n%s", stacks)
				}
				fake.WantNoError(t, p.Teardown(t.Context()))
				select {
				case err, ok := <-errs:
					t.Errorf("after Teardown: %v, %t", err, ok)
				default:
				}
			}
			p.Want(t, "errors")
		})
	}
}

// Errors is called by the host, at any time: here while the lanes write.
func TestPartitionedDestination_errorsDuringWrite(t *testing.T) {
	p, lanes := newReporting(nil)
	fake.WantNoError(t, p.Open(t.Context()))
	var host sync.WaitGroup
	host.Go(func() {
		wantReported(t, p.Errors(), lanes)
		if id := p.ID(); id != "ID of lane0" {
			t.Errorf("the ID is %q", id)
		}
	})
	for range 100 {
		fake.WantNoError(t, p.Write(t.Context(), recordsAt("a1 b1")))
	}
	host.Wait()
	fake.WantNoError(t, p.Teardown(t.Context()))
}

// A lane may have no channel, or close its channel. Errors that nobody receives are
// dropped at Teardown.
func TestPartitionedDestination_errorsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, lanes := newReporting(func(lane int, r *reporter) {
			if lane == 0 {
				r.errs = nil
			}
		})
		for _, closes := range []bool{true, false} {
			fake.WantNoError(t, p.Open(t.Context()))
			errs := p.Errors()
			if closes {
				close(lanes[1].errs)
			} else {
				lanes[1].errs <- fake.ErrTest
			}
			synctest.Wait()
			fake.WantNoError(t, p.Teardown(t.Context()))
			select {
			case err, ok := <-errs:
				t.Errorf("after Teardown: %v, %t", err, ok)
			default:
			}
		}
	})
}

// Errors are passed on until all lanes are torn down, so a lane may wait for the host.
func TestPartitionedDestination_errorsDuringTeardown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		received := make(chan bool)
		p, _ := newReporting(func(_ int, r *reporter) {
			r.OnTeardown = func(context.Context) error {
				r.errs <- fake.ErrOf(r.Name)
				<-received
				return nil
			}
		})
		errs := p.Errors()
		fake.WantNoError(t, p.Open(t.Context()))
		done := fake.Call(func() error { return p.Teardown(t.Context()) })
		for _, name := range []string{"lane1", "lane0"} {
			if err := <-errs; err.Error() != fake.ErrOf(name).Error() {
				t.Errorf("got %v, want that of %s", err, name)
			}
			received <- true
		}
		(<-done).Want(t, nil)
	})
}

// mute is a reporter whose Errors fails.
type mute struct {
	*reporter
	how func(context.Context) error
}

func (m *mute) Errors() <-chan error {
	if m.how != nil {
		_ = m.how(context.Background())
	}
	return m.reporter.Errors()
}

// If Errors of a lane panics, or ends the goroutine, Open has failed, and Errors can be
// called again.
func TestPartitionedDestination_errorsFail(t *testing.T) {
	for _, way := range []string{"panic", "goexit"} {
		synctest.Test(t, func(t *testing.T) {
			j := &fake.Journal{}
			lanes, last := &[2]*reporter{}, &mute{how: ways[way]}
			d := funnel.NewPartitionedDestination(2, keyOf, func(lane int) (funnel.Destination, error) {
				r := &reporter{fake.NewDestination(j, fmt.Sprint("lane", lane)), make(chan error)}
				if lanes[lane] = r; lane == 0 {
					return r, nil
				}
				last.reporter = r
				return last, nil
			})
			fake.WantNoError(t, d.Open(t.Context()))
			end := <-fake.Call(func() error { d.Errors(); return nil })
			if way == "panic" && end.Panic != fake.ErrTest {
				t.Errorf("Errors: %+v", end)
			}
			if way == "goexit" {
				end.WantExit(t)
			}
			last.how = nil
			wantReported(t, d.Errors(), lanes)
			fake.WantNoError(t, d.Teardown(t.Context()))

			last.how = ways[way]
			j.Clear()
			wantFailed(t, <-fake.Call(func() error { return d.Open(t.Context()) }), way)
			j.Want(t, "open teardown", "open lane0", "open lane1", "teardown lane1", "teardown lane0")
			if id := d.ID(); id != "" {
				t.Errorf("the ID is %q after Open has failed", id)
			}
			last.how = nil
			fake.WantNoError(t, d.Open(t.Context()))
			wantReported(t, d.Errors(), lanes)
			fake.WantNoError(t, d.Teardown(t.Context()))
		})
	}
}
