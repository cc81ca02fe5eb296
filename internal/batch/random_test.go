package batch

import (
	"fmt"
	"slices"
)

// travelling are copies that are on their way, and what is to be known of them.
type travelling struct {
	copies *Copies
	model  *model
	flag   Flag // of the part that they are
}

// divide divides copies, which are used up, and compares the parts with what the model
// is divided into.
func divide(c *Copies, m *model) ([]travelling, error) {
	var parts []travelling
	c.Divide(func(flag Flag) *Copies {
		p := travelling{copies: &Copies{}, flag: flag}
		parts = append(parts, p)
		return p.copies
	})
	want := m.divide()
	for i := range parts {
		p := &parts[i]
		if len(want) == 0 {
			return nil, fmt.Errorf("part %d of %d is one too many, with flag %d: %v", i, len(parts), p.flag, p.copies.contents(nil))
		}
		w := want[0]
		if p.flag != w.flag {
			return nil, fmt.Errorf("part %d has the flag %d, want %d", i, p.flag, w.flag)
		}
		// Filtered pieces of a nacked record and the filtered records behind them are
		// two parts if the unanswered copies began between them. Nobody can tell.
		if n := len(p.copies.contents(nil)); w.len() == 0 && 0 < n && n < len(w.copies) {
			rest := *w.model
			rest.copies = slices.Clone(w.copies[n:])
			w.copies = w.copies[:n]
			want = slices.Insert(want, 1, part{w.flag, &rest})
		}
		p.model = w.model
		if err := w.compare(p.copies); err != nil {
			return nil, fmt.Errorf("part %d, with flag %d: %w", i, p.flag, err)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		return nil, fmt.Errorf("there are %d parts, and %d more to be", len(parts), len(want))
	}
	return parts, nil
}

// newFork returns a fork of copies.
func newFork(c *Copies, m *model) travelling {
	fork := travelling{copies: &Copies{}, model: m.fork()}
	c.Fork(fork.copies, &NackInfos{})
	return fork
}
