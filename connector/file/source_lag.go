package file

import (
	"context"
	"math"
	"time"
)

// maxMarks is how many marks a lag has at most. With more, two become one.
const maxMarks = 64

// lag says since when the bytes are known that are not acked.
type lag struct {
	start  int64 // bytes before the first record of the session
	isIdle bool  // the last Read has found nothing more
	marks  []mark
}

// mark says that the bytes before it, up to those of the mark before, are known since then.
type mark struct {
	bytes int64
	at    time.Time
}

// updateLag adds a mark for bytes that are new, and removes marks whose bytes are acked.
func (s *Source) updateLag() {
	l := &s.lag
	if l.isIdle && s.progress.Pending() == 0 {
		l.marks = l.marks[:0] // what else is known is not a record
		return
	}
	done, last := 0, s.stats.BytesAcked
	for _, m := range l.marks {
		if m.bytes <= last {
			done++
		}
	}
	l.marks = append(l.marks[:0], l.marks[done:]...)
	if n := len(l.marks); n > 0 {
		last = l.marks[n-1].bytes
	}
	if s.stats.BytesKnown <= last {
		return
	}
	if len(l.marks) == maxMarks {
		for i := range maxMarks / 2 {
			l.marks[i] = mark{l.marks[2*i+1].bytes, l.marks[2*i].at}
		}
		l.marks = l.marks[:maxMarks/2]
	}
	l.marks = append(l.marks, mark{s.stats.BytesKnown, time.Now()})
}

// Lag returns how many records are not acked, and how long the source has known of the first
// of them.
//
// The records that Read has returned are counted. Those that are still in the files are
// estimated from their bytes and the mean length of the records that were read since Open:
// before the first one, the number is negative, that is, unknown. What is written to a file
// while no Read looks at it is not known yet. The records that were there when the source was
// opened are known since then.
//
// The error is always nil. Any goroutine may call Lag at any time.
func (s *Source) Lag(context.Context) (records int64, behind time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lag.marks) == 0 {
		return 0, 0, nil
	}
	records, behind = int64(s.progress.Pending()), time.Since(s.lag.marks[0].at)
	ahead := s.stats.BytesKnown - s.stats.BytesRead
	switch {
	case s.lag.isIdle || ahead <= 0: // at most a piece of a record is left
	case s.stats.Records == 0:
		records = -1
	default:
		mean := float64(s.stats.BytesRead-s.lag.start) / float64(s.stats.Records)
		records += int64(math.Ceil(float64(ahead) / mean))
	}
	return records, behind, nil
}
