package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// inWrite returns a function that makes Write of a lane do this.
func inWrite(do func(context.Context) error) func(*fake.Destination) {
	return func(d *fake.Destination) {
		d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { return do(ctx) }
	}
}

// inAck returns a function that makes Ack of a lane do this and return no acks.
func inAck(do func(context.Context) error) func(*fake.Destination) {
	return func(d *fake.Destination) {
		d.OnAck = func(ctx context.Context) ([]connector.DestinationAck, error) { return nil, do(ctx) }
	}
}

// acking returns a function that makes a lane return these acks.
func acking(positions ...string) func(*fake.Destination) {
	return func(d *fake.Destination) {
		d.OnAck = func(context.Context) ([]connector.DestinationAck, error) { return fake.Acks(positions...), nil }
	}
}

// inEach returns a function that changes each lane in the same way.
func inEach(change func(*fake.Destination)) func(int, *fake.Destination) {
	return func(_ int, d *fake.Destination) { change(d) }
}

func endsInError(context.Context) error         { return fake.ErrTest }
func endsInPanic(context.Context) error         { panic(fake.ErrTest) }
func endsInGoexit(context.Context) error        { runtime.Goexit(); return nil }
func endsWithContext(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func endsWithCause(ctx context.Context) error   { <-ctx.Done(); return context.Cause(ctx) }

// failures are the ways in which a lane may fail, and the error that Write then returns.
// If the error is nil, Write panics.
var failures = []struct {
	name string
	lane func(*fake.Destination)
	want error
}{
	{"error of Write", inWrite(endsInError), fake.ErrTest},
	{"error of Ack", inAck(endsInError), fake.ErrTest},
	{"cancelled by nobody", inWrite(func(context.Context) error { return context.Canceled }), context.Canceled},
	{"panic in Write", inWrite(endsInPanic), nil},
	{"panic in Ack", inAck(endsInPanic), nil},
	{"goexit in Write", inWrite(endsInGoexit), funnel.ErrGoexit},
	{"goexit in Ack", inAck(endsInGoexit), funnel.ErrGoexit},
	{"wrong ack", acking("x"), funnel.ErrAckMismatch},
	{"too many acks", acking("x", "y", "z"), funnel.ErrAckMismatch},
	{"no acks", acking(), funnel.ErrAcksStopped},
}

// If a lane fails in any way, the context of the others ends, Write waits for them, and
// returns the error of that lane, with its number. Nothing is acked. The next Write works
// as usual.
func TestPartitionedDestination_laneFails(t *testing.T) {
	others := map[string]func(*fake.Destination){
		"done":              func(*fake.Destination) {},
		"waiting in Write":  inWrite(endsWithContext),
		"waiting in Ack":    inAck(endsWithContext),
		"waiting for cause": inWrite(func(ctx context.Context) error { return fmt.Errorf("other: %w", endsWithCause(ctx)) }),
	}
	for _, failure := range failures {
		for name, other := range others {
			for failing := range 3 {
				t.Run(fmt.Sprint(failure.name, " of ", failing, ", others ", name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						p := openPartitioned(t, 3, func(lane int, d *fake.Destination) {
							if lane == failing {
								failure.lane(d)
							} else {
								other(d)
							}
						})
						end := <-fake.Call(func() error { return p.Write(t.Context(), recordsAt("a1 b1 c1 a2 b2 c2")) })
						if failure.want == nil {
							end.WantPanic(t, fake.ErrTest)
						} else {
							end.Want(t, failure.want, fmt.Sprint("lane ", failing, ": "))
							if text := end.Err.Error(); strings.Count(text, "lane ") != 1 {
								t.Errorf("the error also names other lanes: %s", text)
							}
						}
						p.wantLanes(t, "lane0 a1 a2", "lane1 b1 b2", "lane2 c1 c2")
						p.wantAcks(t, nil, nil)
						for _, d := range p.lanes {
							d.OnWrite, d.OnAck, d.Pending = nil, nil, nil
						}
						p.wantWrite(t, "b1 a1 b2 d1", "lane0 b1 b2", "lane1 a1", "lane2 d1")
					})
				})
			}
		}
	}
}

// The error of a single lane has its number, too. Its panic and its runtime.Goexit are
// those of Write.
func TestPartitionedDestination_singleLaneFails(t *testing.T) {
	for _, failure := range failures {
		p := openPartitioned(t, 2, inEach(failure.lane))
		end := <-fake.Call(func() error { return p.Write(t.Context(), recordsAt("a1 a2")) })
		switch {
		case failure.want == nil:
			if end.Panic != fake.ErrTest {
				t.Errorf("%s: %+v", failure.name, end)
			}
		case failure.want == funnel.ErrGoexit:
			end.WantExit(t)
		default:
			end.Want(t, failure.want, "lane 0: ")
		}
		p.wantAcks(t, nil, nil)
	}
}

// errOther is an error of another lane.
var errOther = errors.New("other error")

// The error of the first lane that fails comes first. The errors of others are joined to
// it, unless they only say that their context has ended.
func TestPartitionedDestination_lanesFail(t *testing.T) {
	after := func(seconds int, do func(context.Context) error) func(*fake.Destination) {
		return inWrite(func(ctx context.Context) error {
			time.Sleep(time.Duration(seconds) * time.Second)
			return do(ctx)
		})
	}
	other := func(context.Context) error { return errOther }
	for _, tt := range []struct {
		name     string
		lanes    [3]func(*fake.Destination)
		is       []error
		panicked bool
		first    string
	}{
		{"two errors", [3]func(*fake.Destination){after(2, other), after(3, endsWithContext), after(1, endsInError)},
			[]error{fake.ErrTest, errOther}, false, "lane 2: "},
		{"an error after a panic", [3]func(*fake.Destination){after(1, endsInPanic), after(2, other), after(3, endsWithContext)},
			[]error{fake.ErrTest, errOther}, true, ""},
		{"a panic after an error", [3]func(*fake.Destination){after(3, endsWithContext), after(1, other), after(2, endsInPanic)},
			[]error{fake.ErrTest, errOther}, true, ""},
		{"goexit after an error", [3]func(*fake.Destination){after(2, endsInGoexit), after(1, other), after(3, endsWithContext)},
			[]error{funnel.ErrGoexit, errOther}, false, "lane 1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := openPartitioned(t, 3, func(lane int, d *fake.Destination) { tt.lanes[lane](d) })
				start := time.Now()
				end := <-fake.Call(func() error { return p.Write(t.Context(), recordsAt("a1 b1 c1")) })
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("Write has returned after %v", took)
				}
				err := end.Err
				if tt.panicked {
					end.WantPanic(t, fake.ErrTest)
					err, _ = end.Panic.(error)
				}
				for _, is := range tt.is {
					fake.WantError(t, err, is)
				}
				if errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), tt.first) {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}

// If the context of Write ends, the error is that of the context, and a worker that runs
// the destination returns it.
func TestPartitionedDestination_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("the host is tired")
		for _, how := range []func(*fake.Destination){inWrite(endsWithContext), inAck(endsWithContext), acking()} {
			ctx, cancel := context.WithCancelCause(t.Context())
			p := newPartitioned(3, inEach(how))
			w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(p.Journal, "a1 b1 c1")), nodeTo("out", p)), nil)
			fake.WantNoError(t, w.Open(ctx))
			done := fake.Start(ctx, w)
			synctest.Wait()
			cancel(cause)
			end := <-done
			end.Want(t, context.Canceled)
			end.Want(t, cause)
			fake.WantNoError(t, w.Close(t.Context()))
			p.Want(t, "ack")
		}
	})
}

// The methods of a lane's error may panic.
func TestPartitionedDestination_brokenErrors(t *testing.T) {
	for _, err := range []error{(*strictError)(nil), explodingError{}} {
		for _, positions := range []string{"a1", "a1 b1"} {
			p := openPartitioned(t, 2, inEach(inWrite(func(context.Context) error { return err })))
			end := <-fake.Call(func() error { return p.Write(t.Context(), recordsAt(positions)) })
			if end.Err == nil || end.Panic != nil {
				t.Errorf("Write: %+v", end)
			}
			p.wantAcks(t, nil, nil)
		}
	}
}
