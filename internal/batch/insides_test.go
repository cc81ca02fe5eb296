package batch

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// firstEmpty is the number of the first record whose position may be empty. Source
// records have lower numbers.
const firstEmpty = 1_000

// idKey is the metadata key of piece IDs.
const idKey = "id"

// record returns record number k. Its position has spare capacity. Some positions are
// empty, some records say when they were read, and some come with an ID.
func record(k int) opencdc.Record {
	r := opencdc.Record{Key: opencdc.RawData(strconv.Itoa(k))}
	r.Position = append(make(opencdc.Position, 0, 16), positionOf(k)...)
	switch k % 7 {
	case 3:
		r.Metadata = opencdc.Metadata{}
		r.Metadata.SetReadAt(readAtOf(k))
	case 5:
		r.Metadata = opencdc.Metadata{opencdc.MetadataReadAt: "yesterday"}
	}
	if id := idOf(k); id != "" {
		r.Metadata = opencdc.Metadata{idKey: id}
	}
	return r
}

func positionOf(k int) string {
	if k >= firstEmpty && k%5 == 4 {
		return ""
	}
	return "p" + strconv.Itoa(k)
}

// idOf returns the ID that record number k comes with, which may be that of one of its
// pieces.
func idOf(k int) string {
	if k >= firstEmpty && k%7 == 1 {
		return "1"
	}
	return ""
}

func readAtOf(k int) time.Time { return time.Unix(0, int64(k)) }

// records returns n records, with numbers from k on.
func records(k, n int) []opencdc.Record {
	all := make([]opencdc.Record, n)
	for i := range all {
		all[i] = record(k + i)
	}
	return all
}

// nameOf returns the number of a record, and the note and the ID in its metadata.
func nameOf(r *opencdc.Record) string {
	if r.Key == nil {
		return "-1" // it was cleared
	}
	name := string(r.Key.(opencdc.RawData))
	if note := r.Metadata["note"]; note != "" {
		name = withNote(name, note)
	}
	if id := r.Metadata[idKey]; id != "" {
		name = withID(name, id)
	}
	return name
}

// withNote returns the name of a record after its note was changed.
func withNote(name, note string) string {
	name, id, hasID := strings.Cut(name, "@")
	number, _, _ := strings.Cut(name, "~")
	name = number + "~" + note
	if hasID {
		name = withID(name, id)
	}
	return name
}

// withID returns the name of a record after its ID was changed.
func withID(name, id string) string {
	name, _, _ = strings.Cut(name, "@")
	return name + "@" + id
}

// numberOf returns the number of the record with a name.
func numberOf(name string) int {
	name, _, _ = strings.Cut(name, "@")
	number, _, _ := strings.Cut(name, "~")
	k, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	return k
}

// newCopies returns copies of n records, numbered from 0 on, of a source batch.
func newCopies(n int, pool *Pool) *Copies { return fillCopies(n, pool, "") }

// newIdentified returns the same copies, whose pieces have IDs.
func newIdentified(n int) *Copies { return fillCopies(n, nil, idKey) }

func fillCopies(n int, pool *Pool, idKey string) *Copies {
	c := &Copies{}
	c.Attach(&SourceBatch{}, pool, idKey)
	all := records(0, n)
	c.Fill(all, Positions(all))
	return c
}

// spelled is a copy, spelled out.
type spelled struct {
	slot     int
	flag     Flag
	err      error
	original string // the name of what it was before its first split
	id       string // the piece ID
	record   string // the name of its record, if it is active
}

// contents appends the copies, spelled out, to all. The unanswered ones are spelled as
// to be retried.
func (c *Copies) contents(all []spelled) []spelled {
	next := 0
	nextName := func() string {
		next++
		return nameOf(c.records.At(next - 1))
	}
	switch {
	case c.pieces != nil:
		for i, n := range c.pieces {
			s := spelled{slot: c.first + i}
			if n == 0 {
				s.flag = FlagFilter
				all = append(all, s)
			}
			if n > 1 {
				s.original = nameOf(&c.unsplit[i])
			}
			for range n {
				s.record = nextName()
				all = append(all, s)
			}
		}
	case c.states.Len() == 0:
		for i := range c.records.Len() {
			all = append(all, spelled{slot: c.first + i, record: nextName()})
		}
	default:
		for i := range c.states.Len() {
			state := c.states.At(i)
			info := c.infos.of(state)
			s := spelled{slot: int(state.slot), flag: state.flag, err: info.err, id: info.id}
			if info.original != nil {
				s.original = nameOf(info.original)
			}
			if s.flag.isActive() {
				s.record = nextName()
			}
			all = append(all, s)
		}
	}
	if c.unanswered != nil {
		n := len(all)
		all = c.unanswered.contents(all)
		for i := range all[n:] {
			if s := &all[n+i]; s.flag.isActive() {
				s.flag = FlagRetry
			}
		}
	}
	return all
}

// insides returns an error if an invariant of the books does not hold.
func (c *Copies) insides() error {
	var err error
	switch {
	case c.pieces != nil:
		err = c.insidesOfPieces()
	case c.states.Len() == 0:
		err = c.insidesWithoutStates()
	default:
		err = c.insidesOfStates()
	}
	if err != nil {
		return err
	}
	if c.pieces == nil && c.unsplit != nil {
		return fmt.Errorf("%d unsplit records, and no pieces", len(c.unsplit))
	}
	if i := c.marksFrom(c.marksEnd); i >= 0 {
		return fmt.Errorf("record %d is marked, but there are to be no marks from %d on", i, c.marksEnd)
	}
	for i := range c.records.Len() {
		r := c.records.At(i)
		if want := positionOf(numberOf(nameOf(r))); string(r.Position) != want {
			return fmt.Errorf("record %d is %s with the position %q, want %q", i, nameOf(r), r.Position, want)
		}
		if len(r.Position) < cap(r.Position) {
			return fmt.Errorf("there is room behind the position of record %d", i)
		}
	}
	return c.insidesOfUnanswered()
}

func (c *Copies) insidesOfPieces() error {
	if c.states.Len() > 0 {
		return fmt.Errorf("there are pieces of %d records, and %d states", len(c.pieces), c.states.Len())
	}
	active, filtered, isSplit := 0, 0, false
	for _, n := range c.pieces {
		active += int(n)
		isSplit = isSplit || n > 1
		if n == 0 {
			filtered++
		}
	}
	if active != c.records.Len() || c.inactive != filtered || c.counts[FlagNack] != 0 || c.counts[FlagRetry] != 0 {
		return fmt.Errorf("pieces %d: %d records, counts %d", c.pieces, c.records.Len(), c.counts)
	}
	if c.hasPieces != isSplit || c.records.Before() > 0 {
		return fmt.Errorf("pieces %d: split is %t, %d records before the gap", c.pieces, c.hasPieces, c.records.Before())
	}
	if isSplit && len(c.unsplit) != len(c.pieces) || !isSplit && c.unsplit != nil {
		return fmt.Errorf("pieces %d, %d records before the split", c.pieces, len(c.unsplit))
	}
	return nil
}

func (c *Copies) insidesWithoutStates() error {
	if c.inactive != 0 || c.counts[FlagNack] != 0 || c.counts[FlagRetry] != 0 {
		return fmt.Errorf("no states, and counts %d", c.counts)
	}
	if n := c.records.Len(); n > 0 && (c.hasPieces || c.records.Before() > 0) {
		return fmt.Errorf("no states for %d records, has pieces is %t, %d before the gap", n, c.hasPieces, c.records.Before())
	}
	return nil
}

func (c *Copies) insidesOfStates() error {
	var counts [flags]int
	before, inactive := 0, 0
	for i := range c.states.Len() {
		s := c.states.At(i)
		if s.flag < FlagAck || s.flag >= flags {
			return fmt.Errorf("copy %d has the flag %d", i, s.flag)
		}
		counts[s.flag]++
		if !s.flag.isActive() {
			inactive++
		}
		if i > 0 {
			if last := c.states.At(i - 1).slot; s.slot < last || s.slot > last+1 && !c.hasGaps {
				return fmt.Errorf("slot %d comes after slot %d", s.slot, last)
			}
		}
		if s.info < 0 || int(s.info) > c.infos.len() {
			return fmt.Errorf("copy %d has info %d of %d", i, s.info, c.infos.len())
		}
		info := c.infos.of(s)
		if s.flag != FlagNack && info.err != nil {
			return fmt.Errorf("copy %d has the error: %w", i, info.err)
		}
		isPiece := info.original != nil
		isRepeat := i > 0 && c.states.At(i-1).slot == s.slot
		if (isPiece || isRepeat) && !c.hasPieces {
			return fmt.Errorf("copy %d is a piece, and there are to be none", i)
		}
		if (info.id != "") != (isPiece && c.idKey != "") {
			return fmt.Errorf("copy %d has the ID %q; it is a piece: %t, the key is %q", i, info.id, isPiece, c.idKey)
		}
		if i < c.states.Before() && s.flag.isActive() {
			before++
		}
	}
	if inactive != c.inactive {
		return fmt.Errorf("%d copies are inactive, counted are %d", inactive, c.inactive)
	}
	for _, flag := range []Flag{FlagNack, FlagRetry} {
		if counts[flag] != c.counts[flag] {
			return fmt.Errorf("%d copies have flag %d, counted are %d", counts[flag], flag, c.counts[flag])
		}
	}
	if n := c.states.Len() - inactive; n != c.records.Len() {
		return fmt.Errorf("%d records, %d states of them", c.records.Len(), n)
	}
	if before != c.records.Before() {
		return fmt.Errorf("the gap is behind %d records, that of the states behind %d", c.records.Before(), before)
	}
	return c.insidesOfIDs()
}

// insidesOfIDs returns an error if two pieces of a source record have the same ID.
func (c *Copies) insidesOfIDs() error {
	type piece struct {
		slot int32
		id   string
	}
	seen := make(map[piece]bool)
	for i := range c.states.Len() {
		s := c.states.At(i)
		p := piece{slot: s.slot, id: c.infos.of(s).id}
		if seen[p] && p.id != "" {
			return fmt.Errorf("two pieces of slot %d have the ID %s", p.slot, p.id)
		}
		seen[p] = true
	}
	return nil
}

func (c *Copies) insidesOfUnanswered() error {
	u := c.unanswered
	if u == nil {
		return nil
	}
	switch {
	case u.Len() == 0:
		return fmt.Errorf("no unanswered copy is active, %d are inactive", u.states.Len())
	case u.counts[FlagNack] != 0 || u.counts[FlagRetry] != 0:
		return fmt.Errorf("the unanswered copies have counts %d", u.counts)
	case u.unanswered != nil:
		return fmt.Errorf("of the unanswered copies, %d are unanswered", u.unanswered.Len())
	case u.pieces != nil || u.pool != nil || u.source != c.source || u.infos != c.infos || u.isShared != c.isShared || u.idKey != c.idKey || u.hasGaps && !c.hasGaps:
		return fmt.Errorf("the unanswered copies are on a way of their own")
	case u.records.Before() > 0 || u.states.Before() > 0:
		return fmt.Errorf("the gap of the unanswered copies is behind %d records", u.records.Before())
	}
	all := c.contents(nil)
	for i := range all[1:] {
		if d := all[i+1].slot - all[i].slot; d < 0 || d > 1 && !c.hasGaps {
			return fmt.Errorf("slot %d comes after slot %d", all[i+1].slot, all[i].slot)
		}
	}
	return u.insides()
}

// marksFrom returns the first active record from index i on that is nacked or to be
// retried, or -1.
func (c *Copies) marksFrom(i int) int {
	active := 0
	for k := range c.states.Len() {
		flag := c.states.At(k).flag
		if active >= i && (flag == FlagNack || flag == FlagRetry) {
			return active
		}
		if flag.isActive() {
			active++
		}
	}
	return -1
}

// namesOf returns the names of records.
func namesOf(records []opencdc.Record) []string {
	names := make([]string, len(records))
	for i := range records {
		names[i] = nameOf(&records[i])
	}
	return names
}

// names returns the names of the active records, without a call of Records.
func (c *Copies) names() []string {
	names := []string{}
	for _, s := range c.contents(nil) {
		if s.flag.isActive() {
			names = append(names, s.record)
		}
	}
	return names
}

// flagsOf returns the flags of all copies.
func flagsOf(c *Copies) []Flag {
	var all []Flag
	for _, s := range c.contents(nil) {
		all = append(all, s.flag)
	}
	return all
}
