package funnel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// Open makes all lanes, then opens them in order; Teardown tears them down in reverse,
// once. Opened again, the destination has new lanes.
func TestPartitionedDestination_life(t *testing.T) {
	var p *partitioned
	p = newPartitioned(3, func(lane int, _ *fake.Destination) { p.Add("make", fmt.Sprint("lane", lane)) })
	ctx := t.Context()
	fake.WantNoError(t, p.Teardown(ctx))
	fake.WantError(t, p.Write(ctx, recordsAt("a1")), nil, "not open")
	p.Want(t, "")
	for range 2 {
		fake.WantNoError(t, p.Open(ctx))
		fake.WantError(t, p.Open(ctx), nil, "open already")
		p.Want(t, "",
			"make lane0", "make lane1", "make lane2", "open lane0", "open lane1", "open lane2")
		p.Clear()
		p.wantWrite(t, "a1 b1", "lane0 a1", "lane1 b1")
		fake.WantNoError(t, p.Teardown(ctx))
		fake.WantNoError(t, p.Teardown(ctx))
		p.Want(t, "", "teardown lane2", "teardown lane1", "teardown lane0")
		p.Clear()
		fake.WantError(t, p.Write(ctx, recordsAt("a1")), nil, "not open")
		p.wantAcks(t, nil, nil)
		p.Want(t, "")
	}
}

// ways are ways in which something fails.
var ways = map[string]func(context.Context) error{"error": endsInError, "panic": endsInPanic, "goexit": endsInGoexit}

// wantFailed fails the test unless a call has failed in that way.
func wantFailed(t *testing.T, end fake.Ending, way string, words ...string) {
	t.Helper()
	switch way {
	case "error":
		end.Want(t, fake.ErrTest, words...)
	case "panic":
		end.WantPanic(t, fake.ErrTest)
	case "goexit":
		end.WantExit(t)
	}
}

// If a lane fails to open in any way, the open lanes are torn down in reverse order, and
// the destination can be opened again.
func TestPartitionedDestination_openFails(t *testing.T) {
	for way, how := range ways {
		for failing := range 3 {
			t.Run(fmt.Sprint(way, " of ", failing), func(t *testing.T) {
				isFailing := true
				p := newPartitioned(3, func(lane int, d *fake.Destination) {
					if lane == failing && isFailing {
						d.OnOpen = how
					}
				})
				end := <-fake.Call(func() error { return p.Open(t.Context()) })
				wantFailed(t, end, way, fmt.Sprintf("lane %d: failed to open", failing))
				var want []string
				for lane := 0; lane <= failing; lane++ {
					want = append(want, fmt.Sprint("open lane", lane))
				}
				for lane := failing - 1; lane >= 0; lane-- {
					want = append(want, fmt.Sprint("teardown lane", lane))
				}
				p.Want(t, "", want...)
				fake.WantError(t, p.Write(t.Context(), recordsAt("a1")), nil, "not open")
				fake.WantNoError(t, p.Teardown(t.Context()))
				p.Want(t, "", want...)
				isFailing = false
				p.Clear()
				fake.WantNoError(t, p.Open(t.Context()))
				p.Want(t, "", "open lane0", "open lane1", "open lane2")
			})
		}
	}
}

// If a lane cannot be made, none is opened.
func TestPartitionedDestination_makeFails(t *testing.T) {
	var none *fake.Destination
	for _, tt := range []struct {
		d     funnel.Destination
		err   error
		words string
	}{
		{nil, nil, "lane 2: failed to make the destination: it is nil"},
		{none, nil, "lane 2: failed to make the destination: it is nil"},
		{none, fake.ErrTest, "lane 2: failed to make the destination: test error"},
	} {
		j := &fake.Journal{}
		d := funnel.NewPartitionedDestination(4, keyOf, func(lane int) (funnel.Destination, error) {
			if lane == 2 {
				return tt.d, tt.err
			}
			return fake.NewDestination(j, "lane"), nil
		})
		fake.WantError(t, d.Open(t.Context()), tt.err, tt.words)
		fake.WantError(t, d.Write(t.Context(), recordsAt("a1")), nil, "not open")
		fake.WantNoError(t, d.Teardown(t.Context()))
		j.Want(t, "")
	}
}

// If lanes fail to be torn down in any way, the others are still torn down. The next
// Teardown retries only those that have failed.
func TestPartitionedDestination_teardownFails(t *testing.T) {
	for way, how := range ways {
		for failing := range 3 {
			t.Run(fmt.Sprint(way, " of ", failing), func(t *testing.T) {
				p := openPartitioned(t, 3, func(lane int, d *fake.Destination) {
					if lane == failing {
						d.OnTeardown = how
					}
				})
				for _, want := range [][]string{{"teardown lane2", "teardown lane1", "teardown lane0"}, {fmt.Sprint("teardown lane", failing)}} {
					end := <-fake.Call(func() error { return p.Teardown(t.Context()) })
					wantFailed(t, end, way, fmt.Sprintf("lane %d: failed to tear down", failing))
					p.Want(t, "", want...)
					p.Clear()
					fake.WantError(t, p.Write(t.Context(), recordsAt("a1")), nil, "not open")
				}
				p.lanes[failing].OnTeardown = nil
				fake.WantNoError(t, p.Teardown(t.Context()))
				fake.WantNoError(t, p.Teardown(t.Context()))
				p.Want(t, "", fmt.Sprint("teardown lane", failing))
			})
		}
	}
}

// All errors of Teardown are joined. If a lane panics, the panic contains them.
func TestPartitionedDestination_teardownsFail(t *testing.T) {
	for _, panicking := range []bool{false, true} {
		p := openPartitioned(t, 3, func(lane int, d *fake.Destination) {
			d.OnTeardown = func(context.Context) error {
				if panicking && lane == 1 {
					panic(fake.ErrTest)
				}
				return fake.ErrOf(fmt.Sprint("number ", lane))
			}
		})
		end := <-fake.Call(func() error { return p.Teardown(t.Context()) })
		err := end.Err
		if panicking {
			end.WantPanic(t, fake.ErrTest)
			err, _ = end.Panic.(error)
		}
		fake.WantError(t, err, fake.ErrTest, "lane 0: failed to tear down: test error of number 0", "lane 2: failed to tear down: test error of number 2")
	}
}

// Open first tears down what an earlier Open or Teardown could not. If it cannot either,
// it fails and makes no lane.
func TestPartitionedDestination_openAgain(t *testing.T) {
	for _, opens := range []bool{false, true} {
		t.Run(fmt.Sprint("opened before: ", opens), func(t *testing.T) {
			p := newPartitioned(3, func(lane int, d *fake.Destination) {
				if lane == 1 {
					d.OnTeardown = endsInError
				}
				if lane == 2 && !opens {
					d.OnOpen = func(context.Context) error { return errOther }
				}
			})
			err := p.Open(t.Context())
			if opens {
				fake.WantNoError(t, err)
				fake.WantError(t, p.Teardown(t.Context()), fake.ErrTest)
			} else {
				fake.WantError(t, err, errOther, "lane 2: failed to open")
				fake.WantError(t, err, fake.ErrTest, "lane 1: failed to tear down")
			}
			p.Clear()
			fake.WantError(t, p.Open(t.Context()), fake.ErrTest, "still open in part", "lane 1")
			fake.WantError(t, p.Write(t.Context(), recordsAt("a1")), nil, "not open")
			p.Want(t, "", "teardown lane1")
			opens, p.lanes[1].OnTeardown = true, nil
			p.Clear()
			fake.WantNoError(t, p.Open(t.Context()))
			p.Want(t, "", "teardown lane1", "open lane0", "open lane1", "open lane2")
		})
	}
}
