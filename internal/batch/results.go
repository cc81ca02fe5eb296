package batch

import (
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/internal/gap"
)

// Results are the results of a processor for the first active records. They are counted
// before the first one is applied.
type Results struct {
	All     []sdk.ProcessedRecord // up to the last answer
	Answers int                   // number of answers
	Unknown int                   // index of the first result of a type that the SDK does not define, or -1

	nacks   int
	filters int
	splits  int
	added   int  // number of records that the splits add
	isMulti bool // a MultiRecord holds records, which may be those of the processor's input
}

// Kept is the result for a record that continues as it stands in the slice of Records. Unlike
// an sdk.SingleRecord, it needs no allocation. Only processors of the engine return it.
var Kept sdk.ProcessedRecord = kept{}

type kept struct{ sdk.ProcessedRecord } // nil, for its unexported method

// Count counts results. It stops at one of an unknown type.
func (r *Results) Count(results []sdk.ProcessedRecord) {
	*r = Results{Unknown: -1}
	nils := 0
	for i, result := range results {
		if _, ok := result.(sdk.SingleRecord); ok {
			continue // the most frequent type
		}
		switch result := result.(type) {
		case kept:
		case nil:
			nils++
		case sdk.FilterRecord:
			r.filters++
		case sdk.ErrorRecord:
			r.nacks++
		case sdk.MultiRecord:
			r.countMulti(len(result))
		default:
			r.Unknown = i
			return
		}
	}
	r.Answers = len(results) - nils
	for len(results) > 0 && results[len(results)-1] == nil {
		results = results[:len(results)-1]
	}
	r.All = results
}

// IsKnown returns true if the SDK defines the type of a result.
func IsKnown(result sdk.ProcessedRecord) bool {
	switch result.(type) {
	case nil, kept, sdk.SingleRecord, sdk.FilterRecord, sdk.ErrorRecord, sdk.MultiRecord:
		return true
	default:
		return false
	}
}

// countMulti counts a MultiRecord of n records.
func (r *Results) countMulti(n int) {
	switch n {
	case 0:
		r.filters++
	case 1:
		r.isMulti = true
	default:
		r.isMulti = true
		r.splits++
		r.added += n - 1
	}
}

// Apply puts the results for the first active records into the batch. The records beyond
// them are to be retried. No result may be of an unknown type. The records that the
// processor was given must come from Records.
func (c *Copies) Apply(r *Results) {
	n := len(r.All)
	if n < c.records.Len() {
		c.RetryFrom(n)
	}
	hasMarks := r.nacks > 0 || r.Answers < n
	isForAll := n == c.records.Len()
	switch {
	case !hasMarks && r.filters == 0 && !r.isMulti:
		c.replace(r.All)
	case !hasMarks && c.isUnedited() && isForAll && (r.splits == 0 || c.idKey == ""):
		c.reshape(r)
	case c.nacksLeave && isForAll && !c.hasPieces && c.Inactive() == 0 && r.Answers == n && r.filters == 0 && !r.isMulti:
		c.ensureStates()
		c.replaceOrLeave(r.All)
	default:
		c.ensureStates()
		c.merge(r)
	}
}

// replace applies results that replace records.
func (c *Copies) replace(results []sdk.ProcessedRecord) {
	records := c.records.All()
	for i, result := range results {
		switch result := result.(type) {
		case sdk.SingleRecord:
			records[i] = opencdc.Record(result)
		case kept:
		}
		records[i].Position = slices.Clip(records[i].Position) // clipPosition costs 0.7 ns more here
	}
}

// replaceOrLeave applies results that replace records or nack copies. Nacked copies
// leave. No copy may be inactive or a piece.
func (c *Copies) replaceOrLeave(results []sdk.ProcessedRecord) {
	records, states := c.records.All(), c.states.All()
	n := 0    // copies that stay
	from := 0 // the first copy after the last nack
	for i, result := range results {
		switch result := result.(type) {
		case sdk.SingleRecord:
			records[n] = opencdc.Record(result)
			records[n].Position = slices.Clip(records[n].Position)
			n++
		case kept:
			records[n] = records[i]
			records[n].Position = slices.Clip(records[n].Position)
			n++
		case sdk.ErrorRecord:
			c.leave(&states[i], &records[i], result.Error)
			copy(states[n-(i-from):], states[from:i])
			from = i + 1
		}
	}
	copy(states[n-(len(results)-from):], states[from:len(results)])
	c.records, c.states = gap.Of(records[:n]), gap.Of(states[:n])
}

// leave takes out a copy that a result has nacked, and keeps it for StepOut.
func (c *Copies) leave(s *copyState, record *opencdc.Record, err error) {
	c.counts[FlagNack]++
	c.hasGaps = true
	r := c.nackedRecord(s, record, "")
	r.Err = err
	c.infos.leave(r)
}

// reshape applies results that replace, filter or split records to unedited copies.
func (c *Copies) reshape(r *Results) {
	records := c.records.All()
	out, n := c.roomFor(records, r)[:len(records)+r.added], 0
	pieces := c.pool.takePieces(len(records))[:len(r.All)]
	for i, result := range r.All {
		switch result := result.(type) {
		case sdk.SingleRecord:
			out[n] = opencdc.Record(result)
			clipPosition(&out[n])
			n++
			pieces[i] = 1
		case kept:
			out[n] = records[i]
			clipPosition(&out[n])
			n++
			pieces[i] = 1
		case sdk.MultiRecord:
			copy(out[n:], result)
			clip(out[n : n+len(result)])
			n += len(result)
			pieces[i] = int32(len(result))
		default: // filters
			pieces[i] = 0
		}
	}
	c.records, c.pieces = gap.Of(out[:n]), pieces
	c.inactive = r.filters
	if r.splits > 0 {
		c.unsplit, c.hasPieces = records, true
	}
}

// roomFor returns an empty slice for the records that the results make of records.
// Without pieces, that is the slice of records, in which each record is overwritten only
// after it was handled. Pieces may need more room, or may be the very records that would
// be overwritten.
func (c *Copies) roomFor(records []opencdc.Record, r *Results) []opencdc.Record {
	if r.isMulti {
		return c.pool.takeRecords(len(records) + r.added)
	}
	return records[:0]
}

// merge applies results of any type to copies that have states.
func (c *Copies) merge(r *Results) {
	records, states := c.records.All(), c.states.All()
	m := merger{
		copies:   c,
		records:  c.roomFor(records, r),
		states:   states[:0],
		retained: runs{ledger: &c.source.Ledger},
	}
	if r.isMulti {
		m.states = c.pool.takeStates(len(states) + r.added)
	}
	infos := r.nacks + r.splits
	if c.idKey != "" {
		infos += r.splits + r.added // one for each piece
	}
	c.infos.grow(infos)
	for i, result := range r.All {
		for !states[0].flag.isActive() {
			m.states = append(m.states, states[0])
			states = states[1:]
		}
		s := states[0]
		states = states[1:]
		switch result := result.(type) {
		case sdk.SingleRecord:
			m.put(s, opencdc.Record(result))
		case kept:
			m.put(s, records[i])
		case sdk.FilterRecord:
			m.filter(s)
		case sdk.ErrorRecord:
			m.nack(s, &records[i], result.Error)
		case nil:
			c.mark(&s, FlagRetry)
			m.put(s, records[i])
		case sdk.MultiRecord:
			m.putAll(s, &records[i], result)
		}
	}
	_ = m.retained.flush() // see expand
	c.records = gap.Of(append(m.records, records[len(r.All):]...))
	c.states = gap.Of(append(m.states, states...))
	c.marksEnd = c.records.Len()
}

// merger collects the copies that results make.
type merger struct {
	copies   *Copies
	records  []opencdc.Record
	states   []copyState
	retained runs
}

// put adds a copy with its record.
func (m *merger) put(s copyState, record opencdc.Record) {
	m.states = append(m.states, s)
	m.records = append(m.records, record)
	clipPosition(&m.records[len(m.records)-1])
}

// filter adds a copy and marks it as filtered.
func (m *merger) filter(s copyState) {
	m.copies.mark(&s, FlagFilter)
	m.states = append(m.states, s)
}

// nack adds a nacked copy, unless it leaves. A piece stays, since its siblings are not
// nacked yet.
func (m *merger) nack(s copyState, record *opencdc.Record, err error) {
	if c := m.copies; c.nacksLeave && !c.hasPieces {
		c.leave(&s, record, err)
	} else {
		c.nack(&s, err)
		m.put(s, *record)
	}
}

// putAll adds what a MultiRecord makes of a copy and its record.
func (m *merger) putAll(s copyState, record *opencdc.Record, pieces []opencdc.Record) {
	switch len(pieces) {
	case 0:
		m.filter(s)
		return
	case 1:
		m.put(s, pieces[0])
		return
	}
	c := m.copies
	if info := c.infos.of(&s); info.original == nil {
		info.original = record
		s.info = c.infos.add(info)
	}
	c.beginSplit(&s, len(pieces))
	m.retained.add(int(s.slot), len(pieces)-1)
	for _, piece := range pieces {
		m.put(s, piece)
	}
	if c.idKey == "" {
		return
	}
	states, records := m.states[len(m.states)-len(pieces):], m.records[len(m.records)-len(pieces):]
	for k := range pieces {
		c.identify(&states[k], &records[k], k)
	}
}
