package funnel_test

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// drawnRead is what a read of the source does.
type drawnRead struct {
	takes time.Duration
	n     int    // records
	ends  string // "well", "end", "failure", "panic", "goexit"
}

// draws draws what happens, and times that hardly ever coincide.
type draws struct{ *rand.Rand }

// upTo draws a time, which is quite often 0.
func (d draws) upTo(longest time.Duration) time.Duration {
	if d.IntN(4) == 0 {
		return 0
	}
	return 1 + time.Duration(d.Int64N(int64(longest)))
}

func (d draws) read() drawnRead {
	r := drawnRead{takes: d.upTo(30 * ms), n: d.IntN(4), ends: "well"}
	switch d.IntN(20) {
	case 0:
		r.ends = []string{"end", "failure", "panic", "goexit"}[d.IntN(4)]
	case 1:
		r.n = d.IntN(30)
	case 2:
		r.takes = d.upTo(300 * ms)
	}
	return r
}

func (d draws) policy() funnel.BatchPolicy {
	return funnel.BatchPolicy{Records: 1 + d.IntN(8), Bytes: d.IntN(20) - 5, Period: 1 + d.upTo(50*ms)}
}

// sizeOf returns the size of record i.
func sizeOf(i int) int { return i * 7 % 5 }

// drawnSource is a source of the records 0, 1, ... After it is opened, it begins with the
// first one that is not acked.
type drawnSource struct {
	*fake.Source
	reads    []drawnRead // that are left
	next     int
	acked    int
	pending  int           // reads
	tornDown chan struct{} // since it was opened
}

func (s *drawnSource) open(reads []drawnRead) func(context.Context) error {
	return func(context.Context) error {
		s.reads, s.next, s.tornDown = reads, s.acked, make(chan struct{})
		return nil
	}
}

func (s *drawnSource) read(context.Context) ([]opencdc.Record, error) {
	s.pending++
	defer func() { s.pending-- }()
	r := s.reads[0]
	s.reads = s.reads[1:]
	var recs []opencdc.Record
	for range r.n {
		rec := fake.Records(strconv.Itoa(s.next))[0]
		rec.Payload.After = opencdc.RawData(strings.Repeat("x", sizeOf(s.next)))
		recs = append(recs, rec)
		s.next++
	}
	if r.takes > 0 {
		select {
		case <-time.After(r.takes):
		case <-s.tornDown:
			return recs, []error{nil, io.EOF, errors.New("the source was torn down")}[r.n%3]
		}
	}
	switch r.ends {
	case "end":
		return recs, io.EOF
	case "failure":
		return recs, fake.ErrTest
	case "well":
		return recs, nil
	default:
		return breaksWith(r.ends == "panic")
	}
}

func (s *drawnSource) ack(_ context.Context, positions []opencdc.Position) error {
	s.acked += len(positions)
	return nil
}

// batchModel says what a batching source does, worked out event by event. Times are since
// the beginning of the test.
type batchModel struct {
	policy    funnel.BatchPolicy
	reads     []drawnRead
	next      int // the record that the source reads next
	collected []readRecord

	isReading  bool
	began      time.Duration // the last read
	empty      int           // reads in a row
	ended      string        // how the source has ended, or ""
	isReported bool          // ended was
}

type readRecord struct {
	number int
	at     time.Duration
}

const never = time.Duration(math.MaxInt64)

// batch returns how many of the collected records are in the batch, and whether others
// must not follow.
func (m *batchModel) batch() (n int, isFull bool) {
	size := 0
	for i, rec := range m.collected {
		size += sizeOf(rec.number)
		if m.policy.Bytes > 0 && size > m.policy.Bytes && i > 0 {
			return i, true
		}
		if i+1 == m.policy.Records || m.policy.Bytes > 0 && size >= m.policy.Bytes {
			return i + 1, true
		}
	}
	return len(m.collected), false
}

// proceed ends the pending read if it has ended until now.
func (m *batchModel) proceed(now time.Duration) {
	if !m.isReading || m.began+m.reads[0].takes > now {
		return
	}
	r := m.reads[0]
	m.reads, m.isReading = m.reads[1:], false
	if r.ends != "well" {
		m.ended = r.ends
	}
	if r.ends == "well" || r.ends == "end" {
		for range r.n {
			m.collected = append(m.collected, readRecord{m.next, m.began + r.takes})
			m.next++
		}
	}
	if m.empty++; r.n > 0 {
		m.empty = 0
	}
}

// read returns when a Read that begins now returns, how, and with which records. It is
// given when its context ends and when the source is torn down.
func (m *batchModel) read(now, ctxEnds, tornDown time.Duration) (at time.Duration, how string, want []string) {
	for {
		m.proceed(now)
		n, isFull := m.batch()
		periodEnds := never
		if n > 0 {
			periodEnds = m.collected[0].at + m.policy.Period
		}
		switch {
		case n > 0 && (isFull || m.ended != "" || now >= periodEnds):
			for _, rec := range m.collected[:n] {
				want = append(want, strconv.Itoa(rec.number))
			}
			m.collected = m.collected[n:]
			return now, "batch", want
		case n == 0 && m.ended != "":
			m.isReported = true
			return now, m.ended, nil
		case now >= tornDown:
			return now, "torn down", nil
		case now >= ctxEnds:
			return now, "context", nil
		}
		next := min(periodEnds, ctxEnds, tornDown)
		if !m.isReading && m.ended == "" {
			mayBegin := now
			if m.empty > 0 {
				mayBegin = m.began + min(ms<<(m.empty-1), 100*ms)
			}
			if mayBegin <= now {
				m.isReading, m.began = true, now
			} else {
				next = min(next, mayBegin)
			}
		}
		if m.isReading {
			next = min(next, m.began+m.reads[0].takes)
		}
		now = max(now, next)
	}
}

// opening draws what a caller does between Open and Teardown, does it, and compares what
// happens with the model.
type opening struct {
	draws
	t      *testing.T
	source *drawnSource
	b      funnel.Source
	model  *batchModel
	start  time.Time // of the test
}

// run opens the source, reads, and tears the source down, beside a Read or after it.
func (o *opening) run() {
	var reads []drawnRead
	for range 1000 {
		reads = append(reads, o.read())
	}
	o.source.OnOpen = o.source.open(slices.Clone(reads))
	o.model.reads, o.model.next = reads, o.source.acked
	fake.WantNoError(o.t, o.b.Open(o.t.Context()))
	for range o.IntN(30) {
		time.Sleep(o.upTo(60*ms) * time.Duration(o.IntN(2)))
		if o.IntN(20) == 0 {
			o.tearDownDuringRead()
			return
		}
		o.checkRead(never)
	}
	time.Sleep(o.upTo(60 * ms))
	o.tearDown()
}

// checkRead reads a batch and acks it.
func (o *opening) checkRead(tornDown time.Duration) {
	o.t.Helper()
	ctx, cancel := o.t.Context(), func() {}
	begin, ctxEnds := time.Since(o.start), never
	if o.IntN(4) == 0 {
		timeout := 2 + o.upTo(60*ms)
		ctx, cancel = context.WithTimeout(ctx, timeout)
		ctxEnds = begin + timeout
	}
	defer cancel()
	var recs []opencdc.Record
	end := <-fake.Call(func() (err error) { recs, err = o.b.Read(ctx); return err })
	now := time.Since(o.start)
	at, how, want := o.model.read(begin, ctxEnds, tornDown)
	if now != at || !slices.Equal(fake.Positions(recs), want) {
		o.t.Errorf("Read from %v to %v: %v, %v, want %s, %v at %v", begin, now, fake.Positions(recs), end, how, want, at)
	}
	switch how {
	case "batch":
		end.Want(o.t, nil)
		positions := make([]opencdc.Position, len(recs))
		fake.WantNoError(o.t, o.b.Ack(o.t.Context(), positions))
	case "end":
		end.Want(o.t, io.EOF)
	case "failure":
		end.Want(o.t, fake.ErrTest)
	case "context":
		end.Want(o.t, context.DeadlineExceeded)
	case "torn down":
		if end.Err == nil || end.Err == io.EOF || errors.Is(end.Err, context.DeadlineExceeded) {
			o.t.Errorf("torn down: %v", end.Err)
		}
	default:
		wantBroken(o.t, end, how == "panic")
	}
}

// tearDownDuringRead tears the source down beside a Read, or just after it.
func (o *opening) tearDownDuringRead() {
	after := 3 + o.upTo(60*ms)
	at := time.Since(o.start) + after
	torn := fake.Call(func() error { time.Sleep(after); return o.b.Teardown(o.t.Context()) })
	o.checkRead(at)
	o.checkTornDown(at, <-torn)
}

// tearDown tears the source down.
func (o *opening) tearDown() {
	at := time.Since(o.start)
	o.checkTornDown(at, <-fake.Call(func() error { return o.b.Teardown(o.t.Context()) }))
}

// checkTornDown checks how a Teardown has ended that began at the time. It must report
// what no Read has reported, and leave nothing behind.
func (o *opening) checkTornDown(at time.Duration, end fake.Ending) {
	o.t.Helper()
	m := o.model
	m.proceed(at)
	if !m.isReported && (m.ended == "panic" || m.ended == "goexit") {
		wantBroken(o.t, end, m.ended == "panic")
	} else {
		end.Want(o.t, nil)
	}
	fake.WantNoError(o.t, o.b.Teardown(o.t.Context()))
	if o.source.pending > 0 {
		o.t.Error("a read is still pending")
	}
}

// Whatever the source and the caller do, each batch comes at the time and with the records
// that the policy says. No record is lost, doubled or out of order.
func TestBatchingSource_random(t *testing.T) {
	for seed := range uint64(500) {
		synctest.Test(t, func(t *testing.T) {
			o := opening{draws: draws{rand.New(rand.NewPCG(seed, 0))}, t: t, start: time.Now()}
			o.source = &drawnSource{Source: fake.NewSource(&fake.Journal{})}
			o.source.OnRead, o.source.OnAck = o.source.read, o.source.ack
			o.source.OnTeardown = func(context.Context) error { close(o.source.tornDown); return nil }
			policy := o.policy()
			o.b = funnel.NewBatchingSource(&fake.StrictSource{T: t, Source: o.source.Source}, policy)
			for range 3 {
				o.model = &batchModel{policy: policy}
				o.run()
			}
			if t.Failed() {
				t.Fatalf("seed %d, %+v", seed, policy)
			}
		})
	}
}
