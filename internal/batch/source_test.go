package batch

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Reset keeps nothing of a batch but its memory.
func TestSourceBatch_reset(t *testing.T) {
	s := &SourceBatch{}
	for round := range 3 {
		c := &Copies{}
		c.Attach(s, nil, "")
		all := records(0, 100)
		c.Fill(all, Positions(all))
		if got := readTimes(s); got != nil {
			t.Fatalf("round %d: read at %v", round, got)
		}
		c.Records()[0].Metadata = opencdc.Metadata{opencdc.MetadataReadAt: "30000000000"}
		c.SetReadTimes(time.Unix(1, 0))
		c.KeepRead()
		asRead := s.asRead
		c.Split(0, records(200, 2))
		c.Nack(0, errNo)
		if s.EmptyPosition() != -1 || s.infos.len() == 0 {
			t.Fatalf("round %d: position %d is empty, there are %d infos", round, s.EmptyPosition(), s.infos.len())
		}
		s.Progress = Progress{CopyPositions: true, HasFailed: true, Admitted: 1, Refusal: errors.New("refused")}
		readAt := s.ReadAt
		s.Reset()
		if s.asRead != nil || asRead[0].Position != nil || asRead[99].Position != nil {
			t.Errorf("round %d: records are kept", round)
		}
		if s.Positions != nil || readTimes(s) != nil || s.Progress != (Progress{}) || s.Ledger.Pending() != 0 || s.infos.len() != 0 {
			t.Errorf("round %d: left are %d positions, %d times, %+v, %d slots, %d infos",
				round, len(s.Positions), len(s.ReadAt), s.Progress, s.Ledger.Pending(), s.infos.len())
		}
		s.Positions = make([]opencdc.Position, 1)
		if i := s.EmptyPosition(); i != 0 {
			t.Errorf("round %d: position %d is empty", round, i)
		}
		if times := s.times.Take(0); !isSame(times[:1], readAt) {
			t.Errorf("round %d: the times were given up", round)
		} else {
			s.times.Put(times)
		}
		if kept := s.asReadMemory.Take(0); !isSame(kept[:1], asRead) {
			t.Errorf("round %d: the memory for records was given up", round)
		} else {
			s.asReadMemory.Put(kept)
		}
	}
}

func TestSourceBatch_emptyPosition(t *testing.T) {
	full := opencdc.Position("p")
	for want, positions := range [][]opencdc.Position{
		{nil}, {full, opencdc.Position(""), nil}, {full, full, nil},
	} {
		s := &SourceBatch{Positions: positions}
		for range 2 {
			if got := s.EmptyPosition(); got != want {
				t.Errorf("position %d is empty, want %d", got, want)
			}
		}
	}
	if got := new(SourceBatch).EmptyPosition(); got != -1 {
		t.Errorf("of no positions, %d is empty", got)
	}
}

// EmptyPosition does not look twice: the source may have changed its positions by then.
func TestSourceBatch_emptyPositionLooksOnce(t *testing.T) {
	s := &SourceBatch{Positions: []opencdc.Position{opencdc.Position("p"), nil}}
	if got := s.EmptyPosition(); got != 1 {
		t.Errorf("position %d is empty", got)
	}
	s.Positions[1] = opencdc.Position("q")
	if got := s.EmptyPosition(); got != -1 {
		t.Errorf("position %d is empty", got)
	}
	clear(s.Positions)
	if got := s.EmptyPosition(); got != -1 {
		t.Errorf("position %d was looked at again", got)
	}
}

// Appending to a position must not overwrite another one.
func TestPositions(t *testing.T) {
	memory := []byte("abcdef")
	all := []opencdc.Record{{Position: memory[:2]}, {Position: memory[2:4]}, {Position: memory[4:]}, {}}
	positions := Positions(all)
	if len(positions) != len(all) || positions[3] != nil {
		t.Fatalf("positions %q", positions)
	}
	for i := range all {
		if &all[i].Position == &positions[i] || string(all[i].Position) != string(positions[i]) {
			t.Errorf("position %d is %q, in the record %q", i, positions[i], all[i].Position)
		}
		_ = append(all[i].Position, "xx"...)
		_ = append(positions[i], "yy"...)
	}
	if string(memory) != "abcdef" {
		t.Errorf("the memory of the positions is %q", memory)
	}
	if !isSame(positions[0], memory) || !isSame(all[1].Position, memory[2:]) {
		t.Error("the bytes of a position were copied")
	}
}

func TestClip(t *testing.T) {
	all := records(0, 3)
	all[1].Position = nil
	names := namesOf(all)
	clip(all)
	for i, r := range all {
		if len(r.Position) < cap(r.Position) {
			t.Errorf("there is room behind position %d", i)
		}
	}
	if !slices.Equal(namesOf(all), names) || string(all[2].Position) != "p2" || all[1].Position != nil {
		t.Errorf("the records are %v", all)
	}
	r := record(5)
	if clipPosition(&r); string(r.Position) != "p5" || cap(r.Position) != 2 {
		t.Errorf("the position is %q, with room for %d", r.Position, cap(r.Position))
	}
}
