package funnel_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

func acksOf(positions ...string) []connector.DestinationAck {
	acks := make([]connector.DestinationAck, len(positions))
	for i, p := range positions {
		acks[i].Position = opencdc.Position(p)
	}
	return acks
}

// A destination that does not keep its word stops the worker, and nothing of
// that write is acked, whatever was confirmed before.
func TestDestinationTask_brokenAcks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		acks  [][]connector.DestinationAck // by call, then empty
		err   error                        // of the last one
		words []string
	}{
		{"a wrong position", [][]connector.DestinationAck{acksOf("1", "3")}, nil, []string{`"3"`, `"2"`}},
		{"a wrong order", [][]connector.DestinationAck{acksOf("1"), acksOf("3", "2")}, nil, []string{`"3"`, `"2"`}},
		{"the same position twice", [][]connector.DestinationAck{acksOf("1", "1", "2")}, nil, []string{`"1"`, `"2"`}},
		{"more than was written", [][]connector.DestinationAck{acksOf("1", "2", "3", "4")}, nil, []string{"3 records", "4"}},
		{"more than was written, later", [][]connector.DestinationAck{acksOf("1", "2"), acksOf("3", "4")}, nil, []string{"3 records", "4"}},
		{"none", nil, nil, []string{"stopped acking", "0 of 3"}},
		{"too few", [][]connector.DestinationAck{acksOf("1", "2")}, nil, []string{"stopped acking", "2 of 3"}},
		{"an error", [][]connector.DestinationAck{acksOf("1", "2"), nil}, errTest, []string{"3 records"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				out := newDestination(j, "out")
				call := 0
				out.acks = func(context.Context) ([]connector.DestinationAck, error) {
					if call++; call > len(tt.acks) {
						return nil, nil
					}
					if tt.err != nil && call == len(tt.acks) {
						return acksOf("3"), tt.err
					}
					return tt.acks[call-1], nil
				}
				err := run(t, queue(newDestination(j, "dlq")), from(batchesOf(j, "1 2 3")), to(out))
				wantError(t, err, tt.err, append(tt.words, `"out"`)...)
				j.want(t, []string{"out", "ack", "dlq"}, "out 1 2 3")
			})
		})
	}
}

// Empty answers are allowed now and then. The destination is asked again at
// once, then after growing pauses.
func TestDestinationTask_emptyAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		out := newDestination(j, "out")
		start := time.Now()
		var asked []int64
		answers := []string{"", "", "", "", "1", "", "2", "", "", "", "", "3"}
		out.acks = func(context.Context) ([]connector.DestinationAck, error) {
			asked = append(asked, time.Since(start).Milliseconds())
			answer := answers[len(asked)-1]
			if answer == "" {
				return []connector.DestinationAck{}, nil
			}
			return acksOf(answer), nil
		}
		wantNoError(t, run(t, nil, from(batchesOf(j, "1 2 3")), to(out)))
		j.want(t, []string{"ack"}, "ack 1 2 3")
		if got, want := fmt.Sprint(asked), "[0 0 1 3 7 7 7 7 7 8 10 14]"; got != want {
			t.Errorf("asked at %s ms, want %s", got, want)
		}
	})
}

// The context ends the wait for acks.
func TestDestinationTask_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &journal{}
		out := newDestination(j, "out")
		calls := 0
		out.acks = func(context.Context) ([]connector.DestinationAck, error) {
			if calls++; calls == 2 {
				cancel()
			}
			return nil, nil
		}
		if err := newWorker(t, chain(from(batchesOf(j, "1")), to(out)), nil).Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		if calls != 2 {
			t.Errorf("asked for acks %d times", calls)
		}
		j.want(t, []string{"ack"})
	})
}

// The destination may use its slice of acks again.
func TestDestinationTask_acksAreReused(t *testing.T) {
	j := &journal{}
	out := newDestination(j, "out")
	one := make([]connector.DestinationAck, 1)
	i := 0
	out.acks = func(context.Context) ([]connector.DestinationAck, error) {
		one[0] = connector.DestinationAck{Position: out.written[i].Position}
		if i == 1 {
			one[0].Error = errFor("2")
		}
		i++
		return one, nil
	}
	dead := newDestination(j, "dlq")
	wantNoError(t, run(t, queue(dead), from(batchesOf(j, "1 2 3")), to(out)))
	wantMetadata(t, dead.written[0], "out", errFor("2").Error())
	j.want(t, []string{"dlq", "ack"}, "ack 1", "dlq 2", "ack 2", "ack 3")
}
