package parquet

import (
	"testing"

	"github.com/cespare/xxhash/v2"
)

// A position whose numbers contradict each other is damaged, although its checksum is right.
func TestParsePosition_contradictions(t *testing.T) {
	for name, c := range map[string]struct {
		other, current partlyRead
		record         uint64
		isOpen         bool // without a checksum of the current file
		isGood         bool
	}{
		"good":                   {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 2}, 3, false, true},
		"nothing read of it":     {partlyRead{row: 1, rows: 2}, partlyRead{row: 0, rows: 2}, 3, true, false},
		"more rows than there":   {partlyRead{row: 1, rows: 2}, partlyRead{row: 3, rows: 2}, 4, true, false},
		"more rows than records": {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 2}, 1, false, false},
		"last, no checksum":      {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 2}, 3, true, false},
		"checksum, not last":     {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 3}, 3, false, false},
		"not last":               {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 3}, 3, true, true},
		"other, nothing read":    {partlyRead{row: 0, rows: 2}, partlyRead{row: 2, rows: 2}, 3, false, false},
		"other, finished":        {partlyRead{row: 2, rows: 2}, partlyRead{row: 2, rows: 2}, 4, false, false},
		"other, more rows":       {partlyRead{row: 3, rows: 2}, partlyRead{row: 2, rows: 2}, 5, false, false},
	} {
		head := appendHead(nil, nil, []partlyRead{c.other}, &c.current)
		p := appendTail(head, xxhash.Sum64(head), positionTail{record: c.record, row: c.current.row, isLast: !c.isOpen})
		if _, err := parsePosition(p); (err == nil) != c.isGood {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
