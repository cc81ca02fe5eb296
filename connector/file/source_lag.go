package file

import (
	"context"
	"math"
	"time"
)

// maxMarks is the maximum number of marks of a lag. When it is reached, pairs of marks become
// one.
const maxMarks = 64

// lag says since when the source has known of the bytes that are not acked.
type lag struct {
	start  int64 // bytes before the first record of the session
	isIdle bool  // the last Read found nothing more
	marks  []mark
}

// mark says that the source has known of the bytes up to bytes, from the previous mark on,
// since at.
type mark struct {
	bytes int64
	at    time.Time
}

// updateLag adds a mark for bytes that are new, and removes marks whose bytes are acked.
func (s *Source) updateLag() {
	l := &s.lag
	if l.isIdle && s.progress.Pending() == 0 {
		l.marks = l.marks[:0] // the other bytes are not a record
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
// Records that Read has returned are counted. Records that are still in the files are estimated
// from their bytes and the mean length of the records read since Open. Before the first of
// these, the number is negative: unknown. Lag does not look at the files: bytes count once a
// Read has seen them, and those that Open found count since then.
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
