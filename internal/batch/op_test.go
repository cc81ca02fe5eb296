package batch

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// opKind is a method that edits copies, or a way to call it.
type opKind string

const (
	opAck           opKind = "Mark(ack)"
	opRetry         opKind = "Mark(retry)"
	opRetryFrom     opKind = "RetryFrom"
	opFilter        opKind = "Filter"
	opNack          opKind = "Nack" // without an error
	opNackErrors    opKind = "Nack(errors)"
	opSet           opKind = "Set"
	opSetOwn        opKind = "Set(own)" // to the first active records
	opSplit         opKind = "Split"    // in two
	opSplitOwn      opKind = "Split(own)"
	opApply         opKind = "Apply"
	opRecords       opKind = "Records"
	opStatus        opKind = "Status"
	opSourceRecords opKind = "SourceRecords"
	opReadTimes     opKind = "SetReadTimes"
	opNackedRecords opKind = "NackedRecords"
	opStepOut       opKind = "StepOut"
	opApplyStepOut  opKind = "Apply, StepOut" // for a task whose nacks leave
	opIdentify      opKind = "IdentifyPieces"
	opWriteIDs      opKind = "WritePieceIDs"
)

// errNacked are the errors that records are nacked with.
var errNacked = []error{errors.New("first"), errors.New("second"), nil, errors.New("fourth")}

// op is something that is done to copies.
type op struct {
	kind    opKind
	i, end  int
	number  int // number of the first new record
	results string
}

// What a processor returns for a record is a letter in op.results.
const (
	resultSame     = 's' // the record that it was given
	resultNew      = 'S'
	resultKept     = 'k' // Kept: the record that it was given
	resultKeptNew  = 'K' // Kept: a record that it put in place
	resultFilter   = 'f'
	resultNack     = 'n'
	resultNil      = '-'
	resultMulti0   = '0'
	resultMulti1   = '1'
	resultMulti2   = '2'
	resultMulti3   = '3'
	resultMultiOwn = 'o' // at most three of the records that it was given, from this one on

	allResults = "sSkKfn-0123o"
)

func (o op) String() string {
	switch o.kind {
	case opApply, opApplyStepOut:
		return fmt.Sprintf("%s(%s)", o.kind, o.results)
	case opStepOut, opRecords, opSourceRecords, opReadTimes, opNackedRecords, opIdentify, opWriteIDs:
		return string(o.kind)
	default:
		return fmt.Sprintf("%s[%d:%d]", o.kind, o.i, o.end)
	}
}

// do does the op to copies.
func (o op) do(c *Copies) {
	switch o.kind {
	case opAck:
		c.Mark(o.i, o.end, FlagAck)
	case opRetry:
		c.Mark(o.i, o.end, FlagRetry)
	case opRetryFrom:
		c.RetryFrom(o.i)
	case opFilter:
		c.TakeOut(o.i, o.end, FlagFilter)
	case opNack:
		c.Nack(o.i)
	case opNackErrors:
		c.Nack(o.i, o.errs()...)
	case opSet:
		c.Set(o.i, records(o.number, o.end-o.i))
	case opSetOwn:
		c.Set(o.i, c.Records()[:o.end-o.i])
	case opSplit:
		c.Split(o.i, records(o.number, 2))
	case opSplitOwn:
		c.Split(o.i, c.Records()[:2])
	case opApply:
		var r Results
		r.Count(o.sdkResults(c.Records()))
		c.Apply(&r)
	case opStepOut:
		o.stepOut(c)
	case opApplyStepOut:
		c.BeginTask(c.IsUnmarked()) // a task gets no marked records
		var r Results
		r.Count(o.sdkResults(c.Records()))
		c.Apply(&r)
		c.EndTask(true)
		o.stepOut(c)
	case opRecords:
		c.Records()
	case opStatus:
		c.Status(o.i)
	case opSourceRecords:
		c.SourceRecords()
	case opReadTimes:
		c.SetReadTimes(readAtOf(o.number))
	case opNackedRecords:
		c.NackedRecords("task")
	case opIdentify:
		c.IdentifyPieces(idKey)
	case opWriteIDs:
		c.WritePieceIDs()
	}
}

// isForgiven says whether nacked copies step out as done.
func (o op) isForgiven() bool { return o.number%2 == 1 }

// stepOut is StepOut for copies that are forgiven, or not, during the call only.
func stepOut(c *Copies, task string, isForgiven bool) error {
	defer func() { c.isForgiven = false }()
	c.isForgiven = isForgiven
	return c.StepOut(task)
}

func (o op) stepOut(c *Copies) {
	if err := stepOut(c, "task", o.isForgiven()); err != nil {
		panic(err)
	}
}

// errs returns an error for each record, some of them nil.
func (o op) errs() []error {
	errs := make([]error, o.end-o.i)
	for k := range errs {
		errs[k] = errNacked[(o.number+k)%len(errNacked)]
	}
	return errs
}

// sdkResults returns the results of a processor that is given records.
func (o op) sdkResults(in []opencdc.Record) []sdk.ProcessedRecord {
	results := make([]sdk.ProcessedRecord, len(o.results))
	for k := range results {
		number := o.number + 3*k
		switch letter := o.results[k]; letter {
		case resultSame:
			results[k] = sdk.SingleRecord(in[k])
		case resultNew:
			results[k] = sdk.SingleRecord(record(number))
		case resultKept:
			results[k] = Kept
		case resultKeptNew:
			in[k] = record(number)
			results[k] = Kept
		case resultFilter:
			results[k] = sdk.FilterRecord{}
		case resultNack:
			results[k] = sdk.ErrorRecord{Error: errNacked[number%len(errNacked)]}
		case resultMultiOwn:
			results[k] = sdk.MultiRecord(in[k:min(k+3, len(in))])
		case resultNil:
		default:
			results[k] = sdk.MultiRecord(records(number, int(letter-resultMulti0)))
		}
	}
	return results
}

// model does the op to a model.
func (o op) model(m *model) {
	switch o.kind {
	case opAck:
		m.mark(o.i, o.end, FlagAck)
	case opRetry:
		m.mark(o.i, o.end, FlagRetry)
	case opRetryFrom:
		m.mark(o.i, m.len(), FlagRetry)
	case opFilter:
		m.filter(o.i, o.end)
	case opNack:
		m.nack(o.i)
	case opNackErrors:
		m.nack(o.i, o.errs()...)
	case opSet:
		m.set(o.i, numbers(o.number, o.end-o.i))
	case opSetOwn:
		m.set(o.i, m.names()[:o.end-o.i])
	case opSplit:
		m.split(o.i, numbers(o.number, 2))
	case opSplitOwn:
		m.split(o.i, m.names()[:2])
	case opApply:
		o.modelResults(m)
	case opStepOut:
		m.stepOut("task", o.isForgiven())
	case opApplyStepOut:
		o.modelResults(m)
		m.stepOut("task", o.isForgiven())
	case opReadTimes:
		m.setReadTimes(readAtOf(o.number))
	case opNackedRecords:
		m.nackedRecords("task")
	case opIdentify:
		m.identify()
	case opWriteIDs:
		m.writeIDs()
	case opRecords, opStatus, opSourceRecords:
	}
}

// numbers returns the names of n records with numbers from k on.
func numbers(k, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(k + i)
		if id := idOf(k + i); id != "" {
			names[i] = withID(names[i], id)
		}
	}
	return names
}

// modelResults applies each result to a model, from the last one to the first.
func (o op) modelResults(m *model) {
	in := m.names()
	m.mark(len(o.results), m.len(), FlagRetry)
	for i := len(o.results) - 1; i >= 0; i-- {
		number := o.number + 3*i
		var names []string
		switch letter := o.results[i]; letter {
		case resultSame, resultKept:
			m.set(i, in[i:i+1])
			continue
		case resultNew, resultKeptNew:
			m.set(i, numbers(number, 1))
			continue
		case resultFilter:
		case resultNack:
			m.nack(i, errNacked[number%len(errNacked)])
			continue
		case resultNil:
			m.mark(i, i+1, FlagRetry)
			continue
		case resultMultiOwn:
			names = in[i:min(i+3, len(in))]
		default:
			names = numbers(number, int(letter-resultMulti0))
		}
		m.isMarked = true
		switch len(names) {
		case 0:
			m.filter(i, i+1)
		case 1:
			m.set(i, names)
		default:
			m.split(i, names)
		}
	}
}
