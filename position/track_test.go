package position_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/position"
)

func TestTrack_resumes(t *testing.T) {
	w := &world{records: 9}
	s := w.source()
	if s.ID() != "orders" || s.Errors() != nil {
		t.Errorf("before Open, the ID is %q and Errors returns %v", s.ID(), s.Errors())
	}
	must(t, s.Open(ctx))
	if s.Errors() == nil {
		t.Error("Errors does not return the channel of the inner source")
	}
	w.want(t, "claim, load, make , open")
	must(t, ack(s, "1"), ack(s, ""), ack(s, "2 3"))
	w.want(t, "save 1, ack 1, save 3, ack 2 3")
	must(t, s.Teardown(ctx), s.Teardown(ctx))
	w.want(t, "teardown, release")
	must(t, s.Open(ctx))
	w.want(t, "claim, load, make 3, open")
	records, err := s.Read(ctx)
	if err != nil || len(records) != 1 || string(records[0].Position) != "4" {
		t.Errorf("read %v, %v", records, err)
	}
	must(t, ack(s, "4"), s.Teardown(ctx))
	w.want(t, "save 4, ack 4, teardown, release")
	w.check(t)
}

func TestTrack_arguments(t *testing.T) {
	w := &world{}
	for want, s := range map[string]funnel.Source{
		`store for the position of source "orders" is nil`: position.Track("orders", nil, w.make),
		`store for the position of source "items" is nil`:  position.Track("items", (*position.Memory)(nil), w.make),
		`function that opens source "orders" is nil`:       position.Track("orders", w, nil),
		"option 0 of source \"orders\" is nil":             w.source(nil),
		"once for 0 records":                               w.source(position.WithCoalescing(0, time.Second)),
		"period 0s":                                        w.source(position.WithCoalescing(1, 0)),
	} {
		for range 2 {
			if err := s.Open(ctx); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Open returned %v, want an error that says %q", err, want)
			}
		}
		must(t, s.Teardown(ctx))
	}
	w.want(t, "")
}

func TestTrack_notOpen(t *testing.T) {
	w := &world{}
	s := w.source()
	if _, err := s.Read(ctx); err == nil {
		t.Error("Read before Open returned no error")
	}
	if err := ack(s, "1"); err == nil {
		t.Error("Ack before Open returned no error")
	}
	must(t, s.Teardown(ctx), s.Open(ctx))
	if err := s.Open(ctx); err == nil || !strings.Contains(err.Error(), "not torn down") {
		t.Errorf("a second Open returned %v", err)
	}
	must(t, s.Teardown(ctx))
	if _, err := s.Read(ctx); err == nil {
		t.Error("Read after Teardown returned no error")
	}
	if err := ack(s, "1"); err == nil {
		t.Error("Ack after Teardown returned no error")
	}
	w.want(t, "claim, load, make , open, teardown, release")
}

var opening = []string{"claim", "load", "make ", "open"}

func TestTrack_openFails(t *testing.T) {
	for i, failing := range opening {
		w := &world{}
		s := w.source()
		w.failing(failing)
		wantFailures(t, s.Open(ctx), failing)
		calls := strings.Join(opening[:i+1], ", ")
		if i > 0 {
			calls += ", release"
		}
		w.want(t, calls)
		if i > 0 {
			w.failing(failing, "release")
			wantFailures(t, s.Open(ctx), failing, "release")
			w.take()
			wantFailures(t, s.Open(ctx), "release")
			w.want(t, "release")
			w.failing()
			must(t, s.Open(ctx))
			w.want(t, "release, claim, load, make , open")
		} else {
			w.failing()
			must(t, s.Open(ctx))
		}
		must(t, s.Teardown(ctx))
		w.check(t)
	}
}

func TestTrack_openPanics(t *testing.T) {
	for i, failing := range opening {
		for _, how := range []string{"panic", "Goexit"} {
			w := &world{}
			s := w.source()
			w.on = func(_ context.Context, call string) error {
				switch {
				case call == failing && how == "panic":
					panic("oh no")
				case call == failing:
					return exit()
				}
				return nil
			}
			if how == "panic" {
				value := panics(t, func() error { return s.Open(ctx) })
				if err, ok := value.(*funnel.PanicError); i > 0 && (!ok || err.Value != "oh no" || len(err.Stack) == 0) {
					t.Errorf("it panics with %v", value)
				}
			} else {
				goexit(t, func() { _ = s.Open(ctx) })
			}
			if w.isClaimed {
				t.Errorf("after a %s in %q the position is claimed", how, failing)
			}
			w.failing()
			must(t, s.Open(ctx), ack(s, "1"), s.Teardown(ctx))
			w.check(t)
		}
	}
}

func TestTrack_noSource(t *testing.T) {
	w := &world{}
	for _, source := range []funnel.Source{nil, (*worldSource)(nil)} {
		s := position.Track("orders", w, func(opencdc.Position) (funnel.Source, error) { return source, nil })
		if err := s.Open(ctx); err == nil || !strings.Contains(err.Error(), "no source") || w.isClaimed {
			t.Errorf("Open returned %v; the position is claimed: %t", err, w.isClaimed)
		}
	}
}

// TestTrack_failures has a call fail, and says what the others are, and those of the next
// Teardown.
func TestTrack_failures(t *testing.T) {
	tests := []struct {
		failing    string // calls, separated by commas
		acks       []string
		inAck      []string // the calls of which Ack tells the failure
		calls      string   // of the acks
		inTeardown []string // the calls of which Teardown tells the failure
		teardown   string   // its calls
		inNext     []string // the same of the next Teardown, while the calls still fail
		next       string
		last       string // the calls of the Teardown after that, when no call fails anymore
	}{
		{failing: "save 1", acks: []string{"1"}, inAck: []string{"save 1"}, calls: "save 1",
			inTeardown: []string{"save 1"}, teardown: "save 1, teardown",
			inNext: []string{"save 1"}, next: "save 1", last: "save 1, release"},
		{failing: "save 1", acks: []string{"1", "2"}, inAck: []string{"save 1"}, calls: "save 1, save 2, ack 1 2",
			teardown: "teardown, release"},
		{failing: "save 1,save 2", acks: []string{"1", "2"}, inAck: []string{"save 1", "save 2"}, calls: "save 1, save 2",
			inTeardown: []string{"save 2"}, teardown: "save 2, teardown", inNext: []string{"save 2"}, next: "save 2", last: "save 2, release"},
		{failing: "save 2", acks: []string{"1", "2", "2"}, inAck: []string{"save 2", "save 2"}, calls: "save 1, ack 1, save 2, save 2",
			inTeardown: []string{"save 2"}, teardown: "save 2, teardown", inNext: []string{"save 2"}, next: "save 2", last: "save 2, release"},
		{failing: "save 1", acks: []string{"1", "1 2"}, inAck: []string{"save 1"}, calls: "save 1, save 2, ack 1 2",
			teardown: "teardown, release"},
		{failing: "ack 1", acks: []string{"1"}, inAck: []string{"ack 1"}, calls: "save 1, ack 1",
			teardown: "teardown, release"},
		{failing: "ack 1,save 2", acks: []string{"1", "2"}, inAck: []string{"ack 1", "save 2"}, calls: "save 1, ack 1, save 2",
			inTeardown: []string{"save 2"}, teardown: "save 2, teardown", inNext: []string{"save 2"}, next: "save 2", last: "save 2, release"},
		{failing: "teardown", acks: []string{"1"}, calls: "save 1, ack 1",
			inTeardown: []string{"teardown"}, teardown: "teardown", inNext: []string{"teardown"}, next: "teardown", last: "teardown, release"},
		{failing: "release", acks: []string{"1"}, calls: "save 1, ack 1",
			inTeardown: []string{"release"}, teardown: "teardown, release", inNext: []string{"release"}, next: "release", last: "release"},
		{failing: "save 1,teardown,release", acks: []string{"1"}, inAck: []string{"save 1"}, calls: "save 1",
			inTeardown: []string{"save 1", "teardown"}, teardown: "save 1, teardown",
			inNext: []string{"save 1", "teardown"}, next: "save 1, teardown", last: "save 1, teardown, release"},
	}
	for _, test := range tests {
		t.Run(test.failing+" "+strings.Join(test.acks, ","), func(t *testing.T) {
			w := &world{}
			s := w.source()
			must(t, s.Open(ctx))
			w.take()
			w.failing(strings.Split(test.failing, ",")...)
			var errs []error
			for _, positions := range test.acks {
				errs = append(errs, ack(s, positions))
			}
			wantFailures(t, errors.Join(errs...), test.inAck...)
			w.want(t, test.calls)
			wantFailures(t, s.Teardown(ctx), test.inTeardown...)
			w.want(t, test.teardown)
			wantFailures(t, s.Teardown(ctx), test.inNext...)
			w.want(t, test.next)
			w.failing()
			must(t, s.Teardown(ctx))
			w.want(t, test.last)
			must(t, s.Teardown(ctx))
			w.want(t, "")
			if len(w.problems) > 0 && !strings.HasPrefix(test.failing, "ack") {
				w.check(t)
			}
			if w.isClaimed {
				t.Error("the position is still claimed")
			}
			must(t, s.Open(ctx), s.Teardown(ctx))
		})
	}
}

func TestTrack_savesInTeardown(t *testing.T) {
	for _, failing := range []string{"", "ack 1"} {
		w := &world{}
		s := w.source()
		must(t, s.Open(ctx))
		w.failing("save 1")
		wantFailures(t, ack(s, "1"), "save 1")
		w.take()
		w.failing(failing)
		if err := s.Teardown(ctx); failing == "" {
			must(t, err)
		} else {
			wantFailures(t, err, failing)
		}
		w.want(t, "save 1, ack 1, teardown, release")
		must(t, s.Teardown(ctx))
		w.want(t, "")
		if w.saved != "1" || w.isClaimed {
			t.Errorf("saved %q; claimed: %t", w.saved, w.isClaimed)
		}
		w.check(t)
	}
}

func TestTrack_fenced(t *testing.T) {
	w := &world{}
	s := w.source()
	must(t, s.Open(ctx))
	w.on = func(_ context.Context, call string) error {
		if strings.HasPrefix(call, "save") {
			return position.ErrFenced
		}
		return nil
	}
	for _, call := range []func() error{func() error { return ack(s, "1") }, func() error { return s.Teardown(ctx) }} {
		if err := call(); !errors.Is(err, position.ErrFenced) || !funnel.IsFatalError(err) {
			t.Errorf("the error is %v", err)
		}
	}
	w.want(t, "claim, load, make , open, save 1, save 1, teardown, release") // it gives up
	must(t, s.Teardown(ctx), s.Open(ctx))
	w.want(t, "claim, load, make , open")
	w.failing()
	must(t, ack(s, "1"), s.Teardown(ctx))
	w.check(t)
}

func TestTrack_openFinishesTeardown(t *testing.T) {
	w := &world{}
	s := w.source()
	must(t, s.Open(ctx))
	w.failing("save 1", "teardown")
	wantFailures(t, ack(s, "1"), "save 1")
	wantFailures(t, s.Teardown(ctx), "save 1", "teardown")
	wantFailures(t, s.Open(ctx), "save 1", "teardown")
	w.take()
	w.failing()
	must(t, s.Open(ctx))
	w.want(t, "save 1, teardown, release, claim, load, make 1, open")
	must(t, s.Teardown(ctx))
	w.check(t)
}

func TestTrack_panics(t *testing.T) {
	for _, test := range []struct{ call, next string }{
		{"save 1", "save 1, release"}, {"teardown", "teardown, release"}, {"release", "release"},
	} {
		for _, how := range []string{"panic", "Goexit"} {
			w := &world{}
			s := w.source()
			must(t, s.Open(ctx))
			w.failing("save 1")
			wantFailures(t, ack(s, "1"), "save 1")
			w.on = func(_ context.Context, call string) error {
				switch {
				case call == test.call && how == "panic":
					panic("oh no")
				case call == test.call:
					return exit()
				case call == "ack 1" && test.call == "teardown":
					return failure("ack 1")
				}
				return nil
			}
			if how == "panic" {
				err, ok := panics(t, func() error { return s.Teardown(ctx) }).(*funnel.PanicError)
				if !ok || err.Value != "oh no" || test.call == "teardown" && !errors.Is(err, failure("ack 1")) {
					t.Errorf("it panics with %v", err)
				}
			} else {
				goexit(t, func() { _ = s.Teardown(ctx) })
			}
			w.take()
			w.failing()
			must(t, s.Teardown(ctx))
			w.want(t, test.next)
			must(t, s.Open(ctx), s.Teardown(ctx))
			w.check(t)
		}
	}
}

func TestTrack_ackPanics(t *testing.T) {
	for _, failing := range []string{"save 1", "ack 1"} {
		w := &world{}
		s := w.source()
		must(t, s.Open(ctx))
		w.on = func(_ context.Context, call string) error {
			if call == failing {
				panic("oh no")
			}
			return nil
		}
		if value := panics(t, func() error { return ack(s, "1") }); value != "oh no" {
			t.Errorf("it panics with %v", value)
		}
		w.failing()
		must(t, s.Teardown(ctx))
		if w.saved != "1" || w.isClaimed {
			t.Errorf("saved %q; claimed: %t", w.saved, w.isClaimed)
		}
		w.check(t)
	}
}

// TestTrack_noAckAfterAPanic acks nothing behind an ack that has panicked.
func TestTrack_noAckAfterAPanic(t *testing.T) {
	w := &world{}
	s := w.source()
	must(t, s.Open(ctx))
	w.on = func(_ context.Context, call string) error {
		switch call {
		case "ack 1":
			panic("oh no")
		case "save 2":
			return failure(call)
		}
		return nil
	}
	panics(t, func() error { return ack(s, "1") })
	wantFailures(t, ack(s, "2"), "save 2")
	w.take()
	w.failing()
	must(t, s.Teardown(ctx))
	w.want(t, "save 2, teardown, release")
}

func TestTrack_streamClosed(t *testing.T) {
	w := &world{}
	s := w.source()
	must(t, s.Open(ctx))
	w.on = func(_ context.Context, call string) error {
		if call == "ack 1" {
			return io.EOF
		}
		return nil
	}
	if err := ack(s, "1"); err != io.EOF {
		t.Errorf("the error is %v, want io.EOF itself", err)
	}
	must(t, s.Teardown(ctx))
}

// hanging returns a function for world.on that lets a call hang, and channels that tell
// when it does and let it go on.
func hanging(hung string) (on func(context.Context, string) error, isHanging, goOn chan struct{}) {
	isHanging, goOn = make(chan struct{}, 1), make(chan struct{})
	return func(_ context.Context, call string) error {
		if call == hung {
			isHanging <- struct{}{}
			<-goOn
		}
		return nil
	}, isHanging, goOn
}

// TestTrack_teardownBesideAck tears down while an Ack hangs in the store, or in the source.
func TestTrack_teardownBesideAck(t *testing.T) {
	for _, hung := range []string{"save 1", "ack 1"} {
		for _, opts := range [][]position.TrackOption{nil, {position.WithCoalescing(1, time.Hour)}} {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				s := w.source(opts...)
				must(t, s.Open(ctx))
				var isHanging, goOn chan struct{}
				w.on, isHanging, goOn = hanging(hung)
				acked := make(chan error, 1)
				go func() { acked <- ack(s, "1") }()
				<-isHanging
				w.take()
				short, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if err := s.Teardown(short); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("while %q hangs, Teardown returned %v", hung, err)
				}
				if hung == "save 1" {
					w.want(t, "teardown") // whatever becomes of the save
				} else {
					w.want(t, "") // nothing may overlap an ack
				}
				done := make(chan error, 1)
				go func() { done <- s.Teardown(ctx) }()
				synctest.Wait()
				close(goOn)
				must(t, <-done)
				if err := <-acked; opts == nil && (err != nil) != (hung == "save 1") {
					t.Errorf("Ack returned %v", err)
				}
				if w.saved != "1" || w.isClaimed {
					t.Errorf("saved %q; claimed: %t", w.saved, w.isClaimed)
				}
				w.check(t)
			})
		}
	}
}

// TestTrack_ackInLine has an Ack wait for another one, and Teardown for both.
func TestTrack_ackInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := w.source()
		must(t, s.Open(ctx))
		var isHanging, goOn chan struct{}
		w.on, isHanging, goOn = hanging("save 1")
		first, second, done := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { first <- ack(s, "1") }()
		<-isHanging
		go func() { second <- ack(s, "2") }()
		synctest.Wait()
		go func() { done <- s.Teardown(ctx) }()
		synctest.Wait()
		close(goOn)
		must(t, <-first, <-done)
		if err := <-second; err == nil {
			t.Error("the Ack that came to its turn after Teardown had begun returned nil")
		}
		w.want(t, "claim, load, make , open, save 1, ack 1, teardown, release")
		w.check(t)
	})
}

func TestTrack_teardownWaitsForAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := w.source()
		must(t, s.Open(ctx))
		var isHanging, goOn chan struct{}
		w.on, isHanging, goOn = hanging("save 1")
		acked, done := make(chan error, 1), make(chan error, 1)
		go func() { acked <- ack(s, "1") }()
		<-isHanging
		go func() { done <- s.Teardown(ctx) }()
		synctest.Wait()
		if err := ack(s, "2"); err == nil {
			t.Error("an Ack after Teardown has begun returned nil")
		}
		close(goOn)
		must(t, <-acked, <-done)
		w.want(t, "claim, load, make , open, save 1, ack 1, teardown, release")
		w.check(t)
	})
}
