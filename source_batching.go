package funnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// BatchPolicy says when a batch is complete. A value of 0 or less means the default.
type BatchPolicy struct {
	// Records is the maximum number of records in a batch. A batch of that many records
	// is complete. The default is 1,000.
	Records int
	// Bytes is the maximum total size of the records in a batch, as the metric
	// conduit_connector_bytes counts it, see [Metrics]. A batch of that size is complete,
	// and so is a batch that the next record does not fit into. A record that is larger is
	// a batch of its own. By default there is no limit.
	Bytes int
	// Period is how long a batch is collected, from when its first record was read. Then
	// the batch is complete, whatever it holds. The default is 100 ms.
	Period time.Duration
}

const (
	defaultBatchRecords = 1000
	defaultBatchPeriod  = 100 * time.Millisecond
)

// withDefaults returns the policy with the defaults filled in. Bytes is 0 if there is no
// limit.
func (p BatchPolicy) withDefaults() BatchPolicy {
	if p.Records <= 0 {
		p.Records = defaultBatchRecords
	}
	if p.Period <= 0 {
		p.Period = defaultBatchPeriod
	}
	p.Bytes = max(p.Bytes, 0)
	return p
}

// NewBatchingSource returns a source that collects the records of several reads of s into
// larger batches. It is for sources that return few records per read. If s is nil, so is
// the result.
//
// Read returns a batch as soon as it is complete, or when s has ended or failed. Records
// that do not fit stay for the next batch, in order.
//
// The price is latency: a record may wait for others for up to the period, even while the
// pipeline is idle. With [WithReadAhead] no record waits for others: the records that
// arrive while a batch is in flight become the next batch, so batches stay small while the
// pipeline is faster than the source. Use that option to keep up with a source. Use a
// batching source if each batch has a price of its own, such as a file, a commit or a
// request. With both, a batch is collected while another one is in flight, and the worker
// joins the batches that are complete when it takes the next one.
//
// The first Read starts a goroutine, which reads s while a Read waits for records, and
// spaces out empty reads as the engine does. When Read returns a batch, a pending read of s
// goes on; its records belong to the next batch. So s must allow [Source.Ack] during
// [Source.Read]. At most one batch and the records of one read of s are buffered. The
// context of the reads of s has the values of the context of the first Read. It ends at
// Teardown, and not before.
//
// If the context of Read ends, Read returns the context's error at once. The next Read
// goes on with the records that were collected.
//
// If s returns [io.EOF] or another error, Read first returns the records before it, and
// then the error in each call. Records that s returns with an error other than io.EOF are
// dropped. If s panics, Read panics with a [*PanicError] instead. If s ends the goroutine
// by [runtime.Goexit], Read returns [ErrGoexit]. If Ack returns io.EOF because the stream
// of s has closed, the collected records are dropped unacked, so that the next Read says
// why.
//
// Teardown tears s down, and then waits until the goroutine has ended. If the teardown of s
// fails, or the context ends first, Teardown returns an error and can be called again; it
// does not repeat a teardown of s that has succeeded. The collected records are dropped
// unacked. A pending Read returns an error once the pending read of s has returned; a later
// Read does so, too. If s has panicked or ended the goroutine and no Read has reported it,
// Teardown reports it, once. If s was read, Open returns an error until Teardown has
// succeeded.
//
// If all records of a batch come from one read of s, they are passed on in the slice of
// that read. Otherwise each record is copied once, into a new slice. Nothing else is
// allocated per record or read. A read takes a few hundred nanoseconds more. A limit on
// bytes measures each record once, in time linear in the size of its structured data.
func NewBatchingSource(s Source, policy BatchPolicy) Source {
	if isNil(s) {
		return nil
	}
	b := &batchingSource{Source: s, policy: policy.withDefaults()}
	b.collector = newCollector(s, b.policy)
	return b
}

// batchingSource collects the records of several reads into batches.
type batchingSource struct {
	Source
	policy BatchPolicy // with the defaults filled in

	collector  *collector // since the last Open
	isTornDown bool       // the source was torn down since the last Open
}

func (b *batchingSource) validate() error { return validate(b.Source) }

func (b *batchingSource) inside() Source { return b.Source }

// Unwrap returns the source, for a host that looks for its further methods.
func (b *batchingSource) Unwrap() Source { return b.Source }

// Open opens the source. It forgets the records that were collected before.
func (b *batchingSource) Open(ctx context.Context) error {
	if err := b.checkOver(); err != nil {
		return err
	}
	if err := b.Source.Open(ctx); err != nil {
		return err
	}
	b.collector, b.isTornDown = newCollector(b.Source, b.policy), false
	return nil
}

// checkOver returns an error if the goroutine of the last opening may still be reading.
func (b *batchingSource) checkOver() error {
	switch c := b.collector; {
	case !c.hasStarted():
		return nil
	case !b.isTornDown:
		return errors.New("the batching source cannot be opened: it was not torn down since it was read")
	case !c.hasEnded():
		return errors.New("the batching source cannot be opened: a read that began before it was torn down is still pending")
	default:
		return nil
	}
}

// Read returns the next batch.
func (b *batchingSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	return b.collector.read(ctx)
}

// Ack passes the positions on.
func (b *batchingSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	err := b.Source.Ack(ctx, positions)
	if err != nil && isAny(err, io.EOF) {
		b.collector.streamClosed()
	}
	return err
}

// Teardown tears the source down and waits for the goroutine.
func (b *batchingSource) Teardown(ctx context.Context) error {
	b.collector.stop()
	if !b.isTornDown {
		if err := b.tearDown(ctx); err != nil {
			return err
		}
		b.isTornDown = true
	}
	return b.collector.awaitEnd(ctx)
}

// tearDown tears the source down. Then, whether or not that has failed, it ends the context
// of the reads.
func (b *batchingSource) tearDown(ctx context.Context) error {
	defer b.collector.cancel()
	return b.Source.Teardown(ctx)
}

// collector reads a source on a goroutine of its own and collects the records. It is used
// from one Open to the next.
//
// The goroutine adds what it reads to the pending records itself. It wakes the waiting
// Read for the first record of a batch, from which the period counts, and when the batch
// is full.
type collector struct {
	source Source
	period time.Duration

	due   chan struct{} // gets a value when a read of the source may be due
	ready chan struct{} // gets a value when there may be something to return
	quit  chan struct{} // closed when Teardown begins
	done  chan struct{} // closed when the goroutine has ended, or will never start

	mu         sync.Mutex
	pending    pendingRecords
	cancel     context.CancelFunc // ends the context of the reads
	isStarted  bool
	isWaiting  bool // a Read waits
	isClosed   bool // an ack has said that the source's stream has closed
	isOver     bool // Teardown has begun
	isEnded    bool // there are no more reads
	err        error
	panicked   *PanicError
	isReported bool // err or panicked was reported
}

func newCollector(s Source, policy BatchPolicy) *collector {
	return &collector{
		source:  s,
		period:  policy.Period,
		due:     make(chan struct{}, 1),
		ready:   make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		pending: pendingRecords{limit: WriteLimit{Records: policy.Records, Bytes: policy.Bytes}},
		cancel:  func() {},
	}
}

// read waits for a batch and returns it.
func (c *collector) read(ctx context.Context) ([]opencdc.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.start(ctx)
	var timer *time.Timer // made when the first record is there
	var isPeriodOver <-chan time.Time
	for {
		records, wait, err := c.take()
		switch {
		case wait == 0:
			return records, err
		case wait == untilReady:
		case timer == nil:
			timer = time.NewTimer(wait)
			defer timer.Stop()
			isPeriodOver = timer.C
		default:
			timer.Reset(wait)
		}
		select {
		case <-c.ready:
		case <-isPeriodOver:
		case <-c.done:
		case <-ctx.Done():
			return nil, c.leave(ctx)
		}
	}
}

// start starts the goroutine, unless that was done or Teardown has begun.
func (c *collector) start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isStarted || c.isOver {
		return
	}
	c.isStarted = true
	ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go guard(func() error { return c.readOn(ctx) }, c.end)
}

// untilReady is a time to wait without a limit.
const untilReady = time.Duration(math.MaxInt64)

// take returns a batch, or an error if there are no more. If there is nothing to return yet,
// it asks the goroutine to read, and returns how long to wait at most, which is never 0.
func (c *collector) take() (records []opencdc.Record, wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isWaiting = false
	p := &c.pending
	switch {
	case c.isEnded && p.count == 0:
		return nil, 0, c.fail()
	case p.count == 0:
		wait = untilReady
	case !p.isFull && !c.isEnded:
		wait = c.period - time.Since(p.readAt)
	}
	if wait > 0 {
		c.isWaiting = true
		signal(c.due)
		return nil, wait, nil
	}
	return p.take(), 0, nil
}

// leave ends the wait of a Read whose context has ended, and returns the error of the
// Read.
func (c *collector) leave(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isWaiting = false
	if c.isOver && c.isEnded { // Teardown lets a waiting Read report a panic
		return c.fail()
	}
	return ctx.Err()
}

// fail reports why there are no more reads. The caller holds the lock.
func (c *collector) fail() error {
	c.isReported = true
	switch {
	case c.panicked != nil:
		panic(c.panicked)
	case c.isOver && c.err == io.EOF: // records before it may have been dropped
		return errTornDown
	default:
		return c.err
	}
}

// readOn reads the source whenever a Read waits for records, until the source ends or fails
// or Teardown begins. It returns the reason as an error.
func (c *collector) readOn(ctx context.Context) error {
	empty := emptyReads{base: time.Now()}
	for c.awaitDemand() {
		if isDue, _ := empty.begin(ctx, c.quit); !isDue {
			break
		}
		isDue, isClosed := c.isDue()
		if !isDue {
			continue
		}
		records, err := c.source.Read(ctx)
		if err != nil && err != io.EOF { // an error that wraps io.EOF is an ordinary error
			return err
		}
		empty.end(len(records) == 0)
		c.add(records, isClosed)
		if err != nil {
			return err
		}
	}
	return errTornDown
}

// awaitDemand waits until a read is due and returns true. It returns false once Teardown
// has begun.
func (c *collector) awaitDemand() bool {
	for {
		if isDue, _ := c.isDue(); isDue {
			return true
		}
		select {
		case <-c.due:
		case <-c.quit:
			return false
		}
	}
}

// isDue returns whether a Read waits for the source to be read, and whether the source's
// stream is known to have closed.
func (c *collector) isDue() (isDue, isClosed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isWaiting && !c.pending.isFull && !c.isOver, c.isClosed
}

// add adds the records of a read, unless they are to be dropped. wasClosed says whether
// the source's stream was known to have closed when the read began.
func (c *collector) add(records []opencdc.Record, wasClosed bool) {
	if len(records) == 0 {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver || c.isClosed && !wasClosed {
		return
	}
	isFirst := c.pending.count == 0
	c.pending.add(records, now)
	if isFirst || c.pending.isFull {
		signal(c.ready)
	}
}

// end records why there are no more reads.
func (c *collector) end(err error, panicked *PanicError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isEnded, c.err, c.panicked = true, err, panicked
	close(c.done)
}

// streamClosed records that the source's stream has closed. It drops what was read before,
// and what a pending read returns, so that the error of the next read comes first.
func (c *collector) streamClosed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isClosed = true
	c.pending.clear()
}

// stop lets no more reads begin, and drops the pending records.
func (c *collector) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return
	}
	c.isOver = true
	c.pending.clear()
	close(c.quit)
	if !c.isStarted {
		c.isEnded, c.err = true, errTornDown
		close(c.done)
	}
}

// awaitEnd waits until the goroutine has ended. It reports a panic or Goexit that no Read
// has reported or will report.
func (c *collector) awaitEnd(ctx context.Context) error {
	if !c.hasEnded() {
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("a read of the source is still pending after its teardown: %w", contextError(ctx))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isReported || c.isWaiting || c.panicked == nil && c.err != ErrGoexit {
		return nil
	}
	return c.fail()
}

// hasStarted returns true if the goroutine was started.
func (c *collector) hasStarted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isStarted
}

// hasEnded returns true if the goroutine has ended, or will never start.
func (c *collector) hasEnded() bool { return isClosed(c.done) }
