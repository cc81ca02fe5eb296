package funnel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// numbered returns records with different keys.
func numbered(from, n int) []opencdc.Record {
	recs := make([]opencdc.Record, n)
	for i := range recs {
		recs[i] = opencdc.Record{
			Position: opencdc.Position("position"),
			Key:      opencdc.RawData(strconv.Itoa(from + i)),
		}
	}
	return recs
}

// insides returns what is wrong with the bookkeeping of a batch.
func (b *Batch) insides() error {
	if b.pieces != nil {
		if b.tracks.Len() > 0 {
			return fmt.Errorf("there are pieces of %d records, and %d tracks", len(b.pieces), b.tracks.Len())
		}
		active, filtered, isSplit := 0, 0, false
		for _, n := range b.pieces {
			active += int(n)
			if n == 0 {
				filtered++
			}
			if n > 1 {
				isSplit = true
			}
		}
		if active != b.recs.Len() || filtered != b.counts[RecordFlagFilter] || b.split != isSplit || b.recs.Before() > 0 {
			return fmt.Errorf("pieces %d: %d records, %d filtered, split %t, %d before the gap",
				b.pieces, b.recs.Len(), b.counts[RecordFlagFilter], b.split, b.recs.Before())
		}
	} else if b.tracks.Len() == 0 {
		if b.counts[RecordFlagFilter]+b.counts[RecordFlagNack]+b.counts[RecordFlagRetry] != 0 || b.split && b.recs.Len() > 0 {
			return fmt.Errorf("without tracks: %d records, %d filtered, %d nacked, %d to be retried, split %t",
				b.recs.Len(), b.counts[RecordFlagFilter], b.counts[RecordFlagNack], b.counts[RecordFlagRetry], b.split)
		}
	} else {
		var filtered, nacked, retried, before int
		slot := int32(0)
		for i := range b.tracks.Len() {
			t := b.tracks.At(i)
			switch t.flag {
			case RecordFlagFilter:
				filtered++
			case RecordFlagNack:
				nacked++
			case RecordFlagRetry:
				retried++
			}
			if t.slot < slot || t.slot > slot+1 && i > 0 {
				return fmt.Errorf("slot %d comes after slot %d", t.slot, slot)
			}
			slot = t.slot
			if t.flag != RecordFlagNack && b.notes.of(t).err != nil {
				return fmt.Errorf("track %d has an error: %w", i, b.notes.of(t).err)
			}
			if i < b.tracks.Before() && t.flag != RecordFlagFilter {
				before++
			}
		}
		if filtered != b.counts[RecordFlagFilter] || nacked != b.counts[RecordFlagNack] || retried != b.counts[RecordFlagRetry] {
			return fmt.Errorf("%d filtered, %d nacked, %d to be retried; counted are %d, %d, %d",
				filtered, nacked, retried, b.counts[RecordFlagFilter], b.counts[RecordFlagNack], b.counts[RecordFlagRetry])
		}
		if n := b.tracks.Len() - filtered; n != b.recs.Len() {
			return fmt.Errorf("%d records, %d tracks of them", b.recs.Len(), n)
		}
		if before != b.recs.Before() {
			return fmt.Errorf("the gap is behind %d records, that of the tracks behind %d", b.recs.Before(), before)
		}
	}
	if marked := b.marksFrom(b.marked); marked >= 0 {
		return fmt.Errorf("record %d is marked, but there are to be no marks from %d on", marked, b.marked)
	}
	if b.rest == nil {
		return nil
	}
	if b.rest.active() == 0 || b.rest.counts[RecordFlagNack]+b.rest.counts[RecordFlagRetry] > 0 || b.rest.rest != nil {
		return fmt.Errorf("the rest has %d active records, %d nacked, %d to be retried, a rest of its own: %t",
			b.rest.active(), b.rest.counts[RecordFlagNack], b.rest.counts[RecordFlagRetry], b.rest.rest != nil)
	}
	return b.rest.insides()
}

// marksFrom returns the first active record from index i on that is nacked or to
// be retried, or -1.
func (b *Batch) marksFrom(i int) int {
	active := 0
	for k := range b.tracks.Len() {
		switch b.tracks.At(k).flag {
		case RecordFlagFilter:
			continue
		case RecordFlagNack, RecordFlagRetry:
			if active >= i {
				return active
			}
		}
		active++
	}
	return -1
}

// all returns the tracks of a batch in order, those of the rest marked to be
// retried, and the keys of the active records.
func (b *Batch) all() (tracks []track, keys []string) {
	for i := range b.recs.Len() {
		keys = append(keys, string(b.recs.At(i).Key.Bytes()))
		if b.tracks.Len() == 0 && b.pieces == nil {
			tracks = append(tracks, track{slot: int32(b.first + i)})
		}
	}
	for i, n := range b.pieces {
		t := track{slot: int32(b.first + i)}
		if n == 0 {
			t.flag = RecordFlagFilter
		}
		tracks = append(tracks, slices.Repeat([]track{t}, max(int(n), 1))...)
	}
	for i := range b.tracks.Len() {
		tracks = append(tracks, *b.tracks.At(i))
	}
	if b.rest != nil {
		restTracks, restKeys := b.rest.all()
		for i := range restTracks {
			if restTracks[i].flag != RecordFlagFilter {
				restTracks[i].flag = RecordFlagRetry
			}
		}
		tracks, keys = append(tracks, restTracks...), append(keys, restKeys...)
	}
	return tracks, keys
}

// FuzzBatch_insides does anything to a batch and looks at the bookkeeping: after
// each call, in the parts that it is divided into, and in the ledger.
func FuzzBatch_insides(f *testing.F) {
	for _, seed := range []string{
		"", "\x03\x00\x01", "splitsplitsplit retry nack", "\x04\x05\x01\x03\x03\x02\x01\x02\x00\x01",
		"0123456789012345678901234567890123456789", "zyxwvutsrqponmlkjihgfedcba",
		"700Y100Y180Y100Y0X07707000212",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkInsides)
}

func TestBatch_insides(t *testing.T) {
	n := 5_000
	if testing.Short() {
		n = 1_000
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	for range n {
		data := make([]byte, rnd.IntN(60))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		checkInsides(t, data)
	}
}

func checkInsides(t *testing.T, data []byte) {
	data = data[:min(len(data), 200)]
	roll := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		number := int(data[0]) % n
		data = data[1:]
		return number
	}
	size := 1 + roll(8)
	b := NewBatch(numbered(0, size))
	next := size
	var done []string
	for len(data) > 0 {
		n := b.active()
		if n == 0 {
			break
		}
		i := roll(n)
		j := i + 1 + roll(n-i)
		kind := roll(10)
		done = append(done, fmt.Sprintf("%d[%d:%d]", kind, i, j))
		switch kind {
		case 0:
			b.Ack(i, j)
		case 1:
			b.Filter(i)
		case 2:
			b.Filter(i, j)
		case 3:
			b.Nack(i, make([]error, j-i)...)
		case 4:
			b.Retry(i)
		case 5:
			b.Retry(i, j)
		case 6:
			b.Retry(i, n)
		case 7:
			b.SetRecords(i, numbered(next, j-i))
			next += j - i
		case 8:
			pieces := 2 + roll(2)
			b.SplitRecord(i, numbered(next, pieces))
			next += pieces
		case 9:
			results := make([]sdk.ProcessedRecord, 1+roll(n))
			for k := range results {
				switch n := roll(6); n {
				case 1:
					results[k] = sdk.FilterRecord{}
				case 2, 3, 4:
					results[k] = sdk.MultiRecord(numbered(next, n-1))
					next += n - 1
				case 5:
					results[k] = sdk.ErrorRecord{Error: errNoCause}
				default:
					results[k] = sdk.SingleRecord(b.ActiveRecords()[k])
				}
			}
			sum, err := summarize(b.ActiveRecords(), results)
			if err != nil {
				t.Fatal(err)
			}
			b.apply(results, sum)
		}
		if err := b.insides(); err != nil {
			t.Fatalf("%v: %v", done, err)
		}
	}
	b.nackSiblings()
	if b.rest != nil && b.rest.active() > 0 { // there may be filtered ones left
		if err := b.insides(); err != nil {
			t.Fatalf("%v, siblings nacked: %v", done, err)
		}
	}
	tracks, keys := b.all()
	isWhole, origin := b.isWhole(), b.origin
	parts := b.parts()
	if isWhole && (len(parts) != 1 || parts[0].batch != b) {
		t.Fatalf("%v: a whole batch has %d parts", done, len(parts))
	}
	for i, p := range parts {
		// Filtered pieces of a nacked record and the filtered records behind them may
		// be two parts, if they lay on both sides of the rest. Nobody can tell.
		if i > 0 && parts[i-1].flag == p.flag && parts[i-1].batch.active()+p.batch.active() > 0 {
			t.Fatalf("%v: parts %d and %d are both %s", done, i-1, i, p.flag)
		}
		partTracks, partKeys := p.batch.all()
		if len(partTracks) > len(tracks) || len(partKeys) > len(keys) || !slices.Equal(partKeys, keys[:len(partKeys)]) {
			t.Fatalf("%v: part %d holds the records %v with %d tracks, left were %v with %d",
				done, i, partKeys, len(partTracks), keys, len(tracks))
		}
		for k, got := range partTracks {
			want := tracks[k]
			goesOn := want.flag == RecordFlagFilter || want.flag == RecordFlagAck
			if p.flag == RecordFlagAck && !goesOn || p.flag != RecordFlagAck && want.flag != p.flag {
				t.Fatalf("%v: part %d is %s, a record in it %s", done, i, p.flag, want.flag)
			}
			if p.flag == RecordFlagRetry {
				want.flag = RecordFlagAck
			}
			if got != want {
				t.Fatalf("%v: track %d of part %d is %v, want %v", done, k, i, got, want)
			}
		}
		tracks, keys = tracks[len(partTracks):], keys[len(partKeys):]
	}
	if len(tracks) > 0 || len(keys) > 0 {
		t.Fatalf("%v: %d tracks and %d records are in no part", done, len(tracks), len(keys))
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if from, to, _ := origin.ledger.Front(); from != to && i == len(parts)-1 && size > 0 && parts[0].batch != parts[i].batch {
			t.Fatalf("%v: slots [%d:%d] are finished before they were settled", done, from, to)
		}
		if err := parts[i].batch.settle(); err != nil {
			t.Fatalf("%v, settling part %d: %v", done, i, err)
		}
	}
	if from, to, nacked := origin.ledger.Front(); from != 0 || to != size || nacked {
		t.Fatalf("%v: slots [%d:%d] of %d are finished", done, from, to, size)
	}
}

// moves counts how many of the records and tracks of a batch are no longer where
// they were.
type moves struct {
	b      *Batch
	recs   map[string]*opencdc.Record
	tracks map[trackName]*track
	total  int
}

// trackName tells a track from others: pieces of a record are counted.
type trackName struct {
	slot  int
	piece string
}

func (m *moves) count(edit func()) {
	edit()
	for i := range m.b.recs.Len() {
		rec := m.b.recs.At(i)
		key := string(rec.Key.Bytes())
		if was, ok := m.recs[key]; ok && was != rec {
			m.total++
		}
		m.recs[key] = rec
	}
	k := 0
	for i := range m.b.tracks.Len() {
		t := m.b.tracks.At(i)
		name := trackName{slot: int(t.slot)}
		if t.flag != RecordFlagFilter {
			name.piece = string(m.b.recs.At(k).Key.Bytes())
			k++
		}
		if was, ok := m.tracks[name]; ok && was != t {
			m.total++
		}
		m.tracks[name] = t
	}
}

// Going through a batch in order, in either direction, moves each record a few
// times, however many there are.
func TestBatch_movesAreLinear(t *testing.T) {
	const n = 400
	// Each of these handles record number i at the index given, and returns how
	// many records there are in its place.
	for name, handle := range map[string]func(b *Batch, i, at int) int{
		"nack":   func(b *Batch, _, at int) int { b.Nack(at); return 1 },
		"filter": func(b *Batch, _, at int) int { b.Filter(at); return 0 },
		"split":  func(b *Batch, i, at int) int { b.SplitRecord(at, numbered(n+2*i, 2)); return 2 },
		"filter and mark": func(b *Batch, i, at int) int {
			if i%2 == 0 {
				b.Filter(at)
				return 0
			}
			b.Nack(at)
			b.Retry(at)
			b.Ack(at)
			return 1
		},
		"filter and split": func(b *Batch, i, at int) int {
			if i%2 == 0 {
				b.Filter(at)
				return 0
			}
			b.SplitRecord(at, numbered(n+3*i, 3))
			b.Nack(at + 1)
			return 3
		},
		"filter and set": func(b *Batch, i, at int) int {
			if i%2 == 0 {
				b.Filter(at)
				return 0
			}
			b.SetRecords(at, numbered(n+i, 1))
			return 1
		},
	} {
		for _, backward := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/backward=%t", name, backward), func(t *testing.T) {
				b := NewBatch(numbered(0, n))
				m := moves{b: b, recs: make(map[string]*opencdc.Record), tracks: make(map[trackName]*track)}
				m.count(b.touch)
				at := 0
				for i := range n {
					m.count(func() {
						if backward {
							handle(b, n-1-i, n-1-i)
						} else {
							at += handle(b, i, at)
						}
					})
				}
				if err := b.insides(); err != nil {
					t.Error(err)
				}
				if limit := 10 * n; m.total > limit {
					t.Errorf("%d moves for %d records, want %d at most", m.total, n, limit)
				}
			})
		}
	}
}

// Replacing several records at a time moves no others either.
func TestBatch_setRecordsMovesLittle(t *testing.T) {
	const n = 400
	for name, pass := range map[string]func(b *Batch, count func(func())){
		"forward": func(b *Batch, count func(func())) {
			for at := 0; at < b.recs.Len(); at += 3 {
				count(func() { b.Filter(at) })
				count(func() { b.SetRecords(at, numbered(n+3*at, 3)) })
			}
		},
		"backward": func(b *Batch, count func(func())) {
			for at := n - 4; at >= 0; at -= 4 {
				count(func() { b.SetRecords(at+1, numbered(n+4*at, 3)) })
				count(func() { b.Filter(at) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBatch(numbered(0, n))
			m := moves{b: b, recs: make(map[string]*opencdc.Record), tracks: make(map[trackName]*track)}
			m.count(b.touch)
			pass(b, m.count)
			if b.recs.Len() != n-n/4 || b.counts[RecordFlagFilter] != n/4 {
				t.Fatalf("%d records are left and %d filtered", b.recs.Len(), b.counts[RecordFlagFilter])
			}
			if limit := 10 * n; m.total > limit {
				t.Errorf("%d moves for %d records, want %d at most", m.total, n, limit)
			}
		})
	}
}
