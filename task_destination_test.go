package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// A destination that acks anything but what it was given stops the worker. Nothing of
// that write is acked, not even records whose acks were right.
func TestDestinationTask_brokenAcks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		acks  [][]connector.DestinationAck // by call, then empty
		err   error                        // of the last call
		words []string
	}{
		{"a wrong position", [][]connector.DestinationAck{fake.Acks("1", "3")}, nil, []string{`"3"`, `"2"`}},
		{"a wrong order", [][]connector.DestinationAck{fake.Acks("1"), fake.Acks("3", "2")}, nil, []string{`"3"`, `"2"`}},
		{"the same position twice", [][]connector.DestinationAck{fake.Acks("1", "1", "2")}, nil, []string{`"1"`, `"2"`}},
		{"more than was written", [][]connector.DestinationAck{fake.Acks("1", "2", "3", "4")}, nil, []string{"3 records", "4"}},
		{"more than was written, later", [][]connector.DestinationAck{fake.Acks("1", "2"), fake.Acks("3", "4")}, nil, []string{"3 records", "4"}},
		{"none", nil, nil, []string{"stopped acking", "0 of 3"}},
		{"too few", [][]connector.DestinationAck{fake.Acks("1", "2")}, nil, []string{"stopped acking", "2 of 3"}},
		{"an error", [][]connector.DestinationAck{fake.Acks("1", "2"), nil}, fake.ErrTest, []string{"3 records"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				out := fake.NewDestination(j, "out")
				call := 0
				out.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
					if call++; call > len(tt.acks) {
						return nil, nil
					}
					if tt.err != nil && call == len(tt.acks) {
						return fake.Acks("3"), tt.err
					}
					return tt.acks[call-1], nil
				}
				err := fake.Run(t, fake.DLQ(j), fake.From(fake.SourceOf(j, "1 2 3")), fake.To(out))
				fake.WantError(t, err, tt.err, append(tt.words, `"out"`)...)
				j.Want(t, "out ack dlq", "out 1 2 3")
			})
		})
	}
}

// A destination may return no acks now and then. It is called again at once, then after
// growing pauses.
func TestDestinationTask_emptyAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		start := time.Now()
		var asked []int64
		answers := []string{"", "", "", "", "1", "", "2", "", "", "", "", "3"}
		out.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			asked = append(asked, time.Since(start).Milliseconds())
			answer := answers[len(asked)-1]
			if answer == "" {
				return []connector.DestinationAck{}, nil
			}
			return fake.Acks(answer), nil
		}
		fake.WantNoError(t, fake.Run(t, nil, fake.From(fake.SourceOf(j, "1 2 3")), fake.To(out)))
		j.Want(t, "ack", "ack 1 2 3")
		if got, want := fmt.Sprint(asked), "[0 0 1 3 7 7 7 7 7 8 10 14]"; got != want {
			t.Errorf("asked at %s ms, want %s", got, want)
		}
	})
}

// The end of the context interrupts the wait for acks.
func TestDestinationTask_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		calls := 0
		out.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
			if calls++; calls == 2 {
				cancel()
			}
			return nil, nil
		}
		if err := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(out)), nil).Do(ctx); err != context.Canceled {
			t.Errorf("Do: %v", err)
		}
		if calls != 2 {
			t.Errorf("asked for acks %d times", calls)
		}
		j.Want(t, "ack")
	})
}

// A destination may reuse its slice of acks.
func TestDestinationTask_acksAreReused(t *testing.T) {
	j := &fake.Journal{}
	out := fake.NewDestination(j, "out")
	one := make([]connector.DestinationAck, 1)
	i := 0
	out.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
		one[0] = connector.DestinationAck{Position: out.Written[i].Position}
		if i == 1 {
			one[0].Error = fake.ErrOf("2")
		}
		i++
		return one, nil
	}
	dead := fake.NewDestination(j, "dlq")
	fake.WantNoError(t, fake.Run(t, fake.Queue(dead), fake.From(fake.SourceOf(j, "1 2 3")), fake.To(out)))
	fake.WantNack(t, dead.Written[0], "out", fake.ErrOf("2").Error())
	j.Want(t, "dlq ack", "ack 1", "dlq 2", "ack 2", "ack 3")
}

// An io.EOF from a destination is an error, not the end of the source.
func TestDestinationTask_reportsEOF(t *testing.T) {
	j := &fake.Journal{}
	source, out := fake.SourceOf(j, "1", "2"), fake.NewDestination(j, "out")
	out.OnWrite = func(context.Context, []opencdc.Record) error { return io.EOF }
	fake.WantError(t, fake.Run(t, nil, fake.From(source), fake.To(out)), io.EOF, `"out"`)
	if len(source.Reads) != 1 {
		t.Error("the source was read again")
	}
}

// If a DestinationTask fails, a task that wraps it still sees the records that the
// destination refused before.
func TestDestinationTask_failsAfterARefusal(t *testing.T) {
	d := fake.NewDestination(&fake.Journal{}, "out")
	calls := 0
	d.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
		if calls++; calls > 1 {
			return nil, fake.ErrTest
		}
		acks := fake.Acks("0")
		acks[0].Error = errors.New("refused")
		return acks, nil
	}
	b := funnel.NewBatch(fake.Numbered(2))
	err := funnel.NewDestinationTask("out", d, log.Nop(), nil).Do(t.Context(), b)
	fake.WantError(t, err, fake.ErrTest, `task "out"`)
	if first, second := b.Status(0), b.Status(1); first.Flag != funnel.RecordFlagNack || second.Flag != funnel.RecordFlagAck {
		t.Errorf("got the statuses %v and %v", first, second)
	}
}
