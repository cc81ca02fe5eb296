package system_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// The fuzz targets draw from bytes what tasks do to batches. They do it to a naive
// model first, which writes down what the tasks should see and what should become
// of the records, then to the engine.

// fuzzDice are the bytes that decide everything. Without bytes each decision is 0.
type fuzzDice []byte

// roll returns a number below n.
func (d *fuzzDice) roll(n int) int {
	if len(*d) == 0 {
		return 0
	}
	number := int((*d)[0]) % n
	*d = (*d)[1:]
	return number
}

const (
	fuzzAck = iota
	fuzzFilter
	fuzzNack
	fuzzRetry
	fuzzSet
	fuzzSplit
	fuzzWrong // a call that is out of bounds
	fuzzKinds
)

// fuzzCall is one call of a method of a batch.
type fuzzCall struct {
	kind int
	i, j int      // the range
	one  bool     // the range has one index, and is given by it alone
	ids  []string // of the records that are set, or of the pieces
	errs []string // of a nack, "" for nil
	look bool     // look at the active records afterwards, want are their IDs
	want []string
}

func (op *fuzzCall) ends() []int {
	if op.one {
		return nil
	}
	return []int{op.j}
}

// apply makes the call, and returns what is wrong afterwards.
func (op *fuzzCall) apply(b *funnel.Batch) error {
	recs := make([]opencdc.Record, len(op.ids))
	for k, id := range op.ids {
		recs[k] = fuzzRecord(id)
	}
	switch op.kind {
	case fuzzAck:
		b.Ack(op.i, op.ends()...)
	case fuzzFilter:
		b.Filter(op.i, op.ends()...)
	case fuzzNack:
		b.Nack(op.i, fuzzErrors(op.errs)...)
	case fuzzRetry:
		b.Retry(op.i, op.ends()...)
	case fuzzSet:
		b.SetRecords(op.i, recs)
	case fuzzSplit:
		b.SplitRecord(op.i, recs)
	case fuzzWrong:
		if !fuzzPanics(func() { op.applyWrongly(b) }) {
			return fmt.Errorf("%v: no panic", *op)
		}
	}
	clear(recs) // they are the caller's
	if !op.look {
		return nil
	}
	if got := fuzzIDs(b.ActiveRecords()); !slices.Equal(got, op.want) || b.HasActiveRecords() != (len(got) > 0) {
		return fmt.Errorf("%v: the active records are %v, want %v", *op, got, op.want)
	}
	return nil
}

// applyWrongly makes a call that is out of bounds: there are i active records.
func (op *fuzzCall) applyWrongly(b *funnel.Batch) {
	n := op.i
	switch op.j {
	case 0:
		b.Ack(n)
	case 1:
		b.Filter(0, n+1)
	case 2:
		b.Nack(n, nil)
	case 3:
		b.Retry(-1, n)
	case 4:
		b.SetRecords(n, make([]opencdc.Record, 1))
	case 5:
		b.SplitRecord(-1, make([]opencdc.Record, 2))
	case 6:
		b.Filter(0, n, n)
	case 7:
		b.Retry(n, n-1)
	}
}

const fuzzWrongCalls = 8

func fuzzPanics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

// fuzzRecord returns the record with an ID. Few positions are different.
func fuzzRecord(id string) opencdc.Record {
	return opencdc.Record{
		Position: opencdc.Position(id[len(id)-1:]),
		Metadata: opencdc.Metadata{"id": id},
	}
}

func fuzzErrors(texts []string) []error {
	errs := make([]error, len(texts))
	for i, text := range texts {
		if text != "" {
			errs[i] = errors.New(text)
		}
	}
	return errs
}

func fuzzIDs(recs []opencdc.Record) []string {
	ids := make([]string, len(recs))
	for i, rec := range recs {
		ids[i] = rec.Metadata["id"]
	}
	return ids
}

// fuzzCopy is a copy of a source record.
type fuzzCopy struct {
	id       string
	slot     int
	original string // the ID from before the first split, or ""
	flag     funnel.RecordFlag
	err      string
}

// failure returns the ID of what goes to the dead-letter queue, and the error.
func (c *fuzzCopy) failure() string {
	return cmp.Or(c.original, c.id) + ":" + cmp.Or(c.err, "the record was nacked without an error")
}

// fuzzBatch is the naive batch.
type fuzzBatch []fuzzCopy

// active returns where the active records are.
func (m fuzzBatch) active() []int {
	var active []int
	for k, c := range m {
		if c.flag != funnel.RecordFlagFilter {
			active = append(active, k)
		}
	}
	return active
}

func (m fuzzBatch) ids() []string {
	ids := []string{}
	for _, k := range m.active() {
		ids = append(ids, m[k].id)
	}
	return ids
}

func (m fuzzBatch) has(flag funnel.RecordFlag) bool {
	return slices.ContainsFunc(m, func(c fuzzCopy) bool { return c.flag == flag })
}

func (m fuzzBatch) mark(copies []int, flag funnel.RecordFlag) {
	for _, k := range copies {
		m[k].flag, m[k].err = flag, ""
	}
}

// nackSiblings nacks the copies of a source record of which one was nacked.
func (m fuzzBatch) nackSiblings() {
	for k := range m {
		for other := range m {
			if m[other].slot == m[k].slot && m[other].flag == funnel.RecordFlagNack && m[k].flag != funnel.RecordFlagFilter {
				if m[k].flag != funnel.RecordFlagNack {
					m[k].flag, m[k].err = funnel.RecordFlagNack, m[other].err
				}
				break
			}
		}
	}
}

// fuzzModel is the naive engine: a source with one batch, two tasks that do what
// the dice say, and a destination that nacks what the dice say.
type fuzzModel struct {
	dice fuzzDice
	last int // the last ID

	copies   []int    // of each source record that are still out
	causes   []string // of the first nack, with the task, or ""
	released int
	refused  map[string]string // the errors of the records that the destination nacks

	calls [][]fuzzCall // what the tasks do in each call
	lines []string     // what is to happen
}

func (m *fuzzModel) newID() string {
	m.last++
	return strconv.Itoa(m.last)
}

func (m *fuzzModel) newIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = m.newID()
	}
	return ids
}

func (m *fuzzModel) add(words ...string) {
	m.lines = append(m.lines, strings.Join(words, " "))
}

// op invents a call and makes it on the batch.
func (m *fuzzModel) op(b *fuzzBatch) fuzzCall {
	active := b.active()
	n := len(active)
	op := fuzzCall{kind: m.dice.roll(fuzzKinds), look: m.dice.roll(3) == 0}
	if n == 0 || op.kind == fuzzSplit && m.last > 300 {
		op.kind = fuzzWrong
	}
	if op.kind == fuzzWrong {
		op.i, op.j = n, m.dice.roll(fuzzWrongCalls)
		op.want = b.ids()
		return op
	}
	op.i = m.dice.roll(n)
	switch op.j = op.i + 1; m.dice.roll(4) {
	case 0:
		op.one = true
	case 1:
		op.j = n
	case 2:
		op.j = op.i + m.dice.roll(n-op.i+1)
	}
	inRange := active[op.i:op.j]
	switch op.kind {
	case fuzzAck:
		b.mark(inRange, funnel.RecordFlagAck)
	case fuzzRetry:
		b.mark(inRange, funnel.RecordFlagRetry)
	case fuzzFilter:
		b.mark(inRange, funnel.RecordFlagFilter)
	case fuzzNack:
		if len(inRange) == 0 {
			inRange = active[op.i : op.i+1] // there is no nack of none
		}
		for _, k := range inRange {
			err := ""
			if m.dice.roll(4) > 0 {
				err = m.newID()
			}
			op.errs = append(op.errs, err)
			(*b)[k].flag, (*b)[k].err = funnel.RecordFlagNack, err
		}
	case fuzzSet:
		op.ids = m.newIDs(len(inRange))
		for x, k := range inRange {
			(*b)[k].id = op.ids[x]
		}
	case fuzzSplit:
		op.ids = m.newIDs(m.dice.roll(5))
		m.split(b, active[op.i], op.ids)
	}
	op.want = b.ids()
	return op
}

func (m *fuzzModel) split(b *fuzzBatch, k int, ids []string) {
	c := &(*b)[k]
	switch len(ids) {
	case 0:
		c.flag = funnel.RecordFlagFilter
	case 1:
		c.id = ids[0]
	default:
		pieces := make(fuzzBatch, len(ids))
		for i, id := range ids {
			pieces[i] = fuzzCopy{id: id, slot: c.slot, original: cmp.Or(c.original, c.id)}
			if c.flag == funnel.RecordFlagNack {
				pieces[i].flag, pieces[i].err = c.flag, c.err
			}
		}
		m.copies[c.slot] += len(ids) - 1
		*b = slices.Replace(*b, k, k+1, pieces...)
	}
}

// ops invents calls and makes them on the batch. Some record gets an answer.
func (m *fuzzModel) ops(b *fuzzBatch, atMost int) []fuzzCall {
	var ops []fuzzCall
	for range m.dice.roll(atMost + 1) {
		ops = append(ops, m.op(b))
	}
	if active := b.active(); len(active) > 0 && b.has(funnel.RecordFlagRetry) &&
		!slices.ContainsFunc(active, func(k int) bool { return (*b)[k].flag != funnel.RecordFlagRetry }) {
		b.mark(active[:1], funnel.RecordFlagAck)
		ops = append(ops, fuzzCall{kind: fuzzAck, j: 1, one: true})
	}
	return ops
}

// walk takes a batch through a task and to the end of its way.
func (m *fuzzModel) walk(task int, b fuzzBatch) {
	ids := b.ids()
	if len(ids) == 0 || task == len(fuzzTasks) {
		for _, c := range b {
			m.copies[c.slot]--
		}
		m.release()
		return
	}
	m.add(append([]string{fuzzTasks[task]}, ids...)...)
	if fuzzTasks[task] == "out" {
		for _, k := range b.active() {
			if m.dice.roll(8) == 1 {
				err := m.newID()
				m.refused[b[k].id] = err
				b[k].flag, b[k].err = funnel.RecordFlagNack, err
			}
		}
	} else {
		m.calls = append(m.calls, m.ops(&b, 6))
	}
	b.nackSiblings()
	m.divide(task, b)
}

// divide divides a batch by status, and takes the parts on.
func (m *fuzzModel) divide(task int, b fuzzBatch) {
	for k := range b {
		if b[k].flag == funnel.RecordFlagNack {
			m.nack(&b[k], fuzzTasks[task])
		}
	}
	flagOf := func(c fuzzCopy) funnel.RecordFlag {
		if c.flag == funnel.RecordFlagFilter {
			return funnel.RecordFlagAck
		}
		return c.flag
	}
	for from, to := 0, 0; from < len(b); from = to {
		flag := flagOf(b[from])
		for to < len(b) && flagOf(b[to]) == flag {
			to++
		}
		part := slices.Clone(b[from:to])
		switch flag {
		case funnel.RecordFlagNack:
			m.release()
		case funnel.RecordFlagRetry:
			for k := range part {
				part[k].flag = funnel.RecordFlagAck
			}
			m.walk(task, part)
		default:
			m.walk(task+1, part)
		}
	}
}

// nack settles a copy as nacked.
func (m *fuzzModel) nack(c *fuzzCopy, task string) {
	m.copies[c.slot]--
	if m.causes[c.slot] == "" {
		m.causes[c.slot] = c.failure() + "@" + task
	}
}

// release releases what is done at the front.
func (m *fuzzModel) release() {
	taskOf := func(slot int) string {
		_, task, _ := strings.Cut(m.causes[slot], "@")
		return task
	}
	for {
		from, to := m.released, m.released
		ack, dlq := []string{"ack"}, []string{"dlq"}
		for to < len(m.copies) && m.copies[to] == 0 && taskOf(to) == taskOf(from) {
			ack = append(ack, strconv.Itoa(to))
			dlq = append(dlq, m.causes[to])
			to++
		}
		if from == to {
			return
		}
		if m.causes[from] != "" {
			m.add(dlq...)
		}
		m.add(ack...)
		m.released = to
	}
}

// sourceRecords returns the records that the source has. Their positions are
// the numbers of their slots, which others have as well.
func (m *fuzzModel) sourceRecords() []opencdc.Record {
	recs := make([]opencdc.Record, len(m.copies))
	for i := range recs {
		recs[i] = fuzzRecord(strconv.Itoa(i + 1))
		recs[i].Position = opencdc.Position(strconv.Itoa(i))
	}
	return recs
}

// queue returns a dead-letter queue that notes what is nacked, why, and by whom.
func (m *fuzzModel) queue(j *fake.Journal) *funnel.DLQ {
	d := fake.NewDestination(&fake.Journal{}, "dlq")
	d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
		words := []string{"dlq"}
		for _, rec := range recs {
			text, _ := rec.Metadata.GetConduitDLQNackError()
			task, _ := rec.Metadata.GetConduitDLQNackNodeID()
			failed := rec.Payload.After.(opencdc.StructuredData)["metadata"].(map[string]any)
			words = append(words, fmt.Sprintf("%s:%s@%s", failed["id"], text, task))
		}
		j.Add(words...)
		return nil
	}
	return fake.Queue(d)
}

// destination returns a destination that nacks what the model says.
func (m *fuzzModel) destination(j *fake.Journal) *fake.Destination {
	d := fake.NewDestination(&fake.Journal{}, "out")
	d.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
		ids := fuzzIDs(recs)
		j.Add(append([]string{"out"}, ids...)...)
		d.Pending = nil
		for i, id := range ids {
			ack := connector.DestinationAck{Position: recs[i].Position}
			if text, ok := m.refused[id]; ok {
				ack.Error = errors.New(text)
			}
			d.Pending = append(d.Pending, ack)
		}
		return nil
	}
	return d
}

func newFuzzModel(data []byte) (*fuzzModel, fuzzBatch) {
	m := &fuzzModel{dice: data, refused: make(map[string]string)}
	batch := make(fuzzBatch, 1+m.dice.roll(8))
	m.copies, m.causes = make([]int, len(batch)), make([]string, len(batch))
	for i := range batch {
		batch[i] = fuzzCopy{id: m.newID(), slot: i}
		m.copies[i] = 1
	}
	return m, batch
}

var fuzzTasks = []string{"first", "second", "out"}
