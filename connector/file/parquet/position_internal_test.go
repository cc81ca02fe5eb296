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
		isGood         bool
	}{
		"good":                   {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 2}, 3, true},
		"nothing read of it":     {partlyRead{row: 1, rows: 2}, partlyRead{row: 0, rows: 2}, 3, false},
		"more rows than there":   {partlyRead{row: 1, rows: 2}, partlyRead{row: 3, rows: 2}, 4, false},
		"more rows than records": {partlyRead{row: 1, rows: 2}, partlyRead{row: 2, rows: 2}, 1, false},
		"other, nothing read":    {partlyRead{row: 0, rows: 2}, partlyRead{row: 2, rows: 2}, 3, false},
		"other, finished":        {partlyRead{row: 2, rows: 2}, partlyRead{row: 2, rows: 2}, 4, false},
		"other, more rows":       {partlyRead{row: 3, rows: 2}, partlyRead{row: 2, rows: 2}, 5, false},
	} {
		head := appendHead(nil, nil, []partlyRead{c.other}, &c.current)
		p := appendTail(head, xxhash.Sum64(head), c.record, c.current.row)
		if _, err := parsePosition(p); (err == nil) != c.isGood {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
