package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How the books of a batch are tested:
//
//	model       naive books, which do everything in the most obvious way
//	op          what can be done to copies, to the books and to the model
//	insides     the invariants, checked after each op
//	exhaustive  all short sequences of ops on a few records
//	random      long sequences, on parts, branches and forks of forks; a fuzz target
//	reading     a task that reads on while it edits
//
// Each of the other test files is about one file of the package.

// sourceModel is the naive source batch: a count for each of its records.
type sourceModel struct {
	open   []int   // copies that are not settled
	causes []cause // of the first nack of each record
	readAt []time.Time
}

// cause says why a record was nacked. The zero value is none.
type cause struct {
	record, position, task string
	err                    error
}

func causeOf(n *NackedRecord) cause {
	return cause{record: nameOf(&n.Record), position: string(n.Position), task: n.TaskID, err: n.Err}
}

// compare returns how the ledger differs from the model, as far as that shows without
// changing the ledger.
func (s *sourceModel) compare(source *SourceBatch) error {
	l := &source.Ledger
	for i, open := range s.open {
		c := l.Cause(i)
		if isFinished := l.Retain(i, i+1, 0) != nil; isFinished != (open == 0) {
			return fmt.Errorf("source record %d is finished: %t, want %d open copies", i, isFinished, open)
		}
		if open > 0 {
			continue
		}
		if (c != nil) != (s.causes[i] != cause{}) {
			return fmt.Errorf("source record %d is nacked: %t, want cause %v", i, c != nil, s.causes[i])
		}
		if c != nil && causeOf(c) != s.causes[i] {
			return fmt.Errorf("source record %d is nacked with %v, want %v", i, causeOf(c), s.causes[i])
		}
	}
	if got := readTimes(source); !slices.EqualFunc(got, s.readAt, time.Time.Equal) {
		return fmt.Errorf("read at %v, want %v", got, s.readAt)
	}
	return nil
}

// model is the naive Copies: a list of copies, each spelled out. Each operation works in
// the most obvious way.
type model struct {
	source *sourceModel
	copies []spelled

	hasIDs    bool // pieces have IDs
	isMarked  bool // something was done other than replacing records
	isSettled bool
	isShared  bool
}

func newModel(n int) *model {
	m := &model{source: &sourceModel{open: slices.Repeat([]int{1}, n), causes: make([]cause, n)}}
	for i := range n {
		m.copies = append(m.copies, spelled{slot: i, record: strconv.Itoa(i)})
	}
	return m
}

// clone returns a copy of the model, the source batch included.
func (m *model) clone() *model {
	to, source := *m, *m.source
	source.open, source.causes = slices.Clone(source.open), slices.Clone(source.causes)
	source.readAt = slices.Clone(source.readAt)
	to.source, to.copies = &source, slices.Clone(to.copies)
	return &to
}

// len returns the number of active copies.
func (m *model) len() int { return len(m.copies) - m.count(FlagFilter) }

func (m *model) count(flag Flag) int {
	n := 0
	for _, s := range m.copies {
		if s.flag == flag {
			n++
		}
	}
	return n
}

// index returns where active copy i is among all copies.
func (m *model) index(i int) int {
	for k, s := range m.copies {
		if !s.flag.isActive() {
			continue
		}
		if i == 0 {
			return k
		}
		i--
	}
	panic("no such copy")
}

func (m *model) at(i int) *spelled { return &m.copies[m.index(i)] }

func (m *model) names() []string {
	names := []string{}
	for _, s := range m.copies {
		if s.flag.isActive() {
			names = append(names, s.record)
		}
	}
	return names
}

func (m *model) mark(i, end int, flag Flag) {
	for k := i; k < end; k++ {
		s := m.at(k)
		s.flag, s.err = flag, nil
		m.isMarked = m.isMarked || flag != FlagAck
	}
}

func (m *model) nack(i int, errs ...error) {
	if len(errs) == 0 {
		errs = []error{nil}
	}
	for k, err := range errs {
		s := m.at(i + k)
		s.flag, s.err = FlagNack, err
	}
	m.isMarked = true
}

func (m *model) filter(i, end int) {
	for range end - i {
		s := m.at(i)
		s.flag, s.err, s.record = FlagFilter, nil, ""
	}
	m.isMarked = true
}

func (m *model) set(i int, names []string) {
	for k, name := range names {
		m.at(i + k).record = name
	}
}

func (m *model) split(i int, names []string) {
	k := m.index(i)
	s := m.copies[k]
	if s.original == "" {
		s.original = s.record
	}
	if s.flag == FlagRetry {
		s.flag = FlagAck
	}
	m.source.open[s.slot] += len(names) - 1
	var pieces []spelled
	for i, name := range names {
		piece := s
		piece.record = name
		if m.hasIDs {
			piece.id = strings.TrimPrefix(s.id+"."+strconv.Itoa(i), ".")
			piece.record = withID(name, piece.id)
		}
		pieces = append(pieces, piece)
	}
	m.copies = slices.Concat(m.copies[:k], pieces, m.copies[k+1:])
	m.isMarked = true
}

// identify gives pieces IDs from now on.
func (m *model) identify() {
	if m.hasIDs {
		return
	}
	m.hasIDs = true
	m.slots(func(copies []spelled) {
		for k := range copies {
			if copies[k].original != "" {
				copies[k].id = strconv.Itoa(k)
			}
		}
	})
}

// writeIDs writes IDs to the records that are not to be retried.
func (m *model) writeIDs() {
	for i := range m.copies {
		if s := &m.copies[i]; s.id != "" && s.flag != FlagRetry && s.flag != FlagFilter {
			s.record = withID(s.record, s.id)
		}
	}
}

// slots calls f for the copies of each source record.
func (m *model) slots(f func(copies []spelled)) {
	for from := 0; from < len(m.copies); {
		to := from
		for to < len(m.copies) && m.copies[to].slot == m.copies[from].slot {
			to++
		}
		f(m.copies[from:to])
		from = to
	}
}

func (m *model) nackSiblings() {
	m.slots(func(copies []spelled) {
		first := slices.IndexFunc(copies, func(s spelled) bool { return s.flag == FlagNack })
		if first < 0 {
			return
		}
		for k := range copies {
			if s := &copies[k]; s.flag == FlagAck || s.flag == FlagRetry {
				s.flag, s.err = FlagNack, copies[first].err
			}
		}
	})
}

// part is a run of copies that go on together.
type part struct {
	flag Flag
	*model
}

func (m *model) divide() []part {
	m.nackSiblings()
	var parts []part
	for _, s := range m.copies {
		flag := s.flag
		if flag == FlagFilter {
			flag = FlagAck
		}
		if len(parts) == 0 || parts[len(parts)-1].flag != flag {
			parts = append(parts, part{flag, &model{
				source: m.source, hasIDs: m.hasIDs, isMarked: true, isSettled: m.isSettled, isShared: m.isShared,
			}})
		}
		if s.flag == FlagRetry {
			s.flag = FlagAck
		}
		last := parts[len(parts)-1]
		last.copies = append(last.copies, s)
	}
	if m.count(FlagNack)+m.count(FlagRetry) == 0 {
		return []part{{FlagAck, m}}
	}
	return parts
}

func (m *model) retain(k int) {
	for _, s := range m.copies {
		m.source.open[s.slot] += k
	}
}

func (m *model) settle() {
	if m.isSettled {
		return
	}
	m.isSettled = true
	for _, s := range m.copies {
		m.source.open[s.slot]--
	}
}

func (m *model) cause(s spelled, task string) cause {
	name := s.record
	if s.original != "" {
		name = s.original
	}
	position := positionOf(numberOf(name))
	if position == "" {
		position = positionOf(s.slot)
	}
	return cause{record: name, position: position, task: task, err: s.err}
}

func (m *model) settleNacked(task string) {
	if m.isSettled {
		return
	}
	m.isSettled = true
	m.nackSiblings()
	for _, s := range m.copies {
		m.source.open[s.slot]--
		if s.flag.isActive() && m.source.causes[s.slot] == (cause{}) {
			m.source.causes[s.slot] = m.cause(s, task)
		}
	}
}

// stepOut takes out the nacked copies and settles them.
func (m *model) stepOut(task string, isForgiven bool) {
	m.nackSiblings()
	m.copies = slices.DeleteFunc(m.copies, func(s spelled) bool {
		if s.flag != FlagNack {
			return false
		}
		m.settleCopy(s, task, !isForgiven)
		return true
	})
}

// settleMarked settles each copy as its flag says.
func (m *model) settleMarked(task string, isForgiven bool) {
	if m.isSettled {
		return
	}
	m.isSettled = true
	if !isForgiven {
		m.nackSiblings()
	}
	for _, s := range m.copies {
		m.settleCopy(s, task, s.flag == FlagNack && !isForgiven)
	}
}

func (m *model) settleCopy(s spelled, task string, isNack bool) {
	m.source.open[s.slot]--
	if isNack && m.source.causes[s.slot] == (cause{}) {
		m.source.causes[s.slot] = m.cause(s, task)
	}
}

func (m *model) nackedRecords(task string) (causes []cause, sources []int) {
	m.nackSiblings()
	m.isMarked = m.isMarked || len(m.copies) > 0
	n := 0
	m.slots(func(copies []spelled) {
		for _, s := range copies {
			if s.flag.isActive() {
				causes, sources = append(causes, m.cause(s, task)), append(sources, n)
				break
			}
		}
		n++
	})
	return causes, append(sources, n)
}

func (m *model) sourceRecords() int {
	n := 0
	m.slots(func([]spelled) { n++ })
	return n
}

func (m *model) setReadTimes(now time.Time) {
	if len(m.source.readAt) == 0 {
		m.source.readAt = slices.Repeat([]time.Time{now}, len(m.source.open))
	}
	for _, s := range m.copies {
		if s.flag.isActive() && numberOf(s.record)%7 == 3 {
			m.source.readAt[s.slot] = readAtOf(numberOf(s.record))
		}
	}
}

// route returns what each branch gets, or nil for a branch that gets nothing. Filtered
// copies, and those of a branch without Copies, are settled.
func (m *model) route(branchOf func(i int) int, branches []Branch) []*model {
	routed := make([]*model, len(branches))
	active := 0
	for _, s := range m.copies {
		if !s.flag.isActive() {
			m.source.open[s.slot]--
			continue
		}
		to := branchOf(active)
		active++
		switch {
		case branches[to].Copies == nil:
			m.source.open[s.slot]--
			continue
		case routed[to] == nil:
			routed[to] = &model{source: m.source, hasIDs: m.hasIDs, isMarked: true, isShared: m.isShared}
		}
		routed[to].copies = append(routed[to].copies, s)
	}
	return routed
}

func (m *model) fork() *model {
	fork := *m
	fork.copies = slices.Clone(m.copies)
	return &fork
}

// compare returns how the copies and their books differ from the model, as far as that
// shows without changing them.
func (m *model) compare(c *Copies) error {
	if err := c.insides(); err != nil {
		return err
	}
	if got := c.contents(nil); !slices.Equal(got, m.copies) {
		from := 0
		for from < min(len(got), len(m.copies)) && got[from] == m.copies[from] {
			from++
		}
		return fmt.Errorf("the copies are, from copy %d on, %+v, want %+v", from, got[from:], m.copies[from:])
	}
	n, nacked, retried, inactive := m.len(), m.count(FlagNack), m.count(FlagRetry), m.count(FlagFilter)
	if c.Len() != n || c.Inactive() != inactive || c.IsEmpty() != (len(m.copies) == 0) {
		return fmt.Errorf("%d are active, %d inactive, empty: %t; want %d and %d", c.Len(), c.Inactive(), c.IsEmpty(), n, inactive)
	}
	if gotNacked, gotRetried := c.Marks(); gotNacked != nacked || gotRetried != retried || c.HasNacks() != (nacked > 0) {
		return fmt.Errorf("%d are nacked (%t), %d to be retried, want %d, %d", gotNacked, c.HasNacks(), gotRetried, nacked, retried)
	}
	if c.IsUnmarked() != (nacked == 0 && retried == 0) {
		return fmt.Errorf("unmarked is %t with %d nacked, %d to be retried", c.IsUnmarked(), nacked, retried)
	}
	if c.IsUnanswered(inactive) != (retried == n) || c.IsUnanswered(inactive+1) || c.IsUnanswered(inactive-1) {
		return fmt.Errorf("unanswered is %t with %d of %d to be retried", c.IsUnanswered(inactive), retried, n)
	}
	if c.IsSettled() != m.isSettled || c.IsShared() != m.isShared {
		return fmt.Errorf("settled: %t, shared: %t", c.IsSettled(), c.IsShared())
	}
	isPlain := len(m.copies) == len(m.source.open) && !m.isSettled
	for i, s := range m.copies {
		isPlain = isPlain && s.slot == i && s.flag == FlagAck && s.original == ""
	}
	if isAsRead := c.IsAsRead(); isAsRead && !isPlain || !isAsRead && isPlain && !m.isMarked {
		return fmt.Errorf("as read is %t, with marks %t", isAsRead, m.isMarked)
	}
	return m.compareErrors(c)
}

func (m *model) compareErrors(c *Copies) error {
	var want []error
	for _, s := range m.copies {
		if s.flag == FlagNack {
			want = append(want, s.err)
		}
	}
	got := slices.Collect(c.NackErrors())
	if !slices.Equal(got, want) {
		return fmt.Errorf("nacked with %v, want %v", got, want)
	}
	return nil
}

// compareRecords compares what can be asked for only at the risk of changing the form of
// the books.
func (m *model) compareRecords(c *Copies) error {
	for i := range m.len() {
		want := m.at(i)
		if flag, err := c.Status(i); flag != want.flag || err != want.err {
			return fmt.Errorf("status %d is %v, %v, want %v, %v", i, flag, err, want.flag, want.err)
		}
	}
	if got, want := namesOf(c.Records()), m.names(); !slices.Equal(got, want) {
		return fmt.Errorf("records %v, want %v", got, want)
	}
	if got, want := c.SourceRecords(), m.sourceRecords(); got != want {
		return fmt.Errorf("%d source records, want %d", got, want)
	}
	return m.compare(c)
}

// compareNacked compares NackedRecords.
func (m *model) compareNacked(c *Copies, task string) error {
	nacked, sources := c.NackedRecords(task)
	var got []cause
	for _, n := range nacked {
		if len(n.Position) < cap(n.Position) {
			return fmt.Errorf("there is room behind the position of %s", nameOf(&n.Record))
		}
		got = append(got, causeOf(n))
	}
	if want, wantSources := m.nackedRecords(task); !slices.Equal(got, want) || !slices.Equal(sources, wantSources) {
		return fmt.Errorf("nacked are %v before %v, want %v before %v", got, sources, want, wantSources)
	}
	return nil
}
