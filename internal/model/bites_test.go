package model

import (
	"slices"
	"strings"

	"github.com/conduitio/funnel"
)

// What is wrong in a run that must be noticed.

var bites = []bite{
	{"an ack is missing", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil {
			b.remove(c)
		}
	}},
	{"a position is missing in an ack", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			c.cut(b.IntN(len(c.items)))
		}
	}},
	{"an ack is made twice", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"an ack is split in two", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			b.insert(c, second)
		}
	}},
	{"an ack has a position too many", func(b *biting) {
		var last *call
		acked := 0
		for _, c := range b.calls {
			if c.who == "ack" {
				last, acked = c, acked+len(c.items)
			}
		}
		if last != nil && acked < b.tree.records() {
			last.items = append(last.items, b.tree.position(acked))
		}
	}},
	{"two positions are swapped in an ack", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil && len(c.items) > 1 {
			c.items[0], c.items[len(c.items)-1] = c.items[len(c.items)-1], c.items[0]
		}
	}},
	{"two acks are swapped", func(b *biting) {
		c, d := b.call(b.is("ack")), b.call(b.is("ack"))
		if c != nil && c != d {
			c.items, d.items = d.items, c.items
		}
	}},
	{"an ack is early", func(b *biting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && (b.isWrite(b.calls[i-1]) || b.calls[i-1].who == "dlq") {
			b.calls[i], b.calls[i-1] = b.calls[i-1], b.calls[i]
			b.renumber()
		}
	}},
	{"an ack overlaps with a write", func(b *biting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && b.isWrite(b.calls[i-1]) {
			b.calls[i-1].end = c.begin + 1
			c.end += 2
		}
	}},
	{"an ack has the position of a changed record", func(b *biting) {
		if c := b.call(b.is("ack")); c != nil {
			c.items[b.IntN(len(c.items))] = "proc01:same"
		}
	}},
	{"a record is not delivered", func(b *biting) {
		if c := b.call(b.isWrite); c != nil {
			if len(c.items) == 1 {
				b.remove(c)
			} else {
				c.cut(b.IntN(len(c.items)))
			}
		}
	}},
	{"a record is on two branches of a route", func(b *biting) {
		if c, other := b.routed(); c != nil {
			again := c.clone()
			again.who, again.parts = other.id, 0
			b.insert(c, again)
		}
	}},
	{"records are on another branch of a route", func(b *biting) {
		if c, other := b.routed(); c != nil && c.parts == 0 && len(b.of(other.id)) == 0 {
			c.who = other.id
		}
	}},
	{"a record that has no route is not nacked", func(b *biting) {
		isLost := func(c *call) bool {
			return c.who == "dlq" && len(c.items) == 1 && strings.HasPrefix(c.letters[0].task, "rout")
		}
		if c := b.call(isLost); c != nil {
			b.remove(c)
		}
	}},
	{"a call is made twice", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"a call is missing", func(b *biting) {
		if c := b.call(func(c *call) bool { return b.isTask(c) && c.parts == 0 }); c != nil {
			b.remove(c)
		}
	}},
	{"a retry is early", func(b *biting) {
		if i := b.retry(); i > 0 {
			b.delay(i, -1)
		}
	}},
	{"a retry is late", func(b *biting) {
		if i := b.retry(); i > 0 {
			b.delay(i, 1)
		}
	}},
	{"a call has a record twice", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			c.items, c.slots = append(c.items, c.items[0]), append(c.slots, c.slots[0])
		}
	}},
	{"a call is split in two", func(b *biting) {
		if c := b.call(b.isTask); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			c.slots, second.slots = c.slots[:1], second.slots[1:]
			b.insert(c, second)
		}
	}},
	{"two records are swapped in a call", func(b *biting) {
		if c := b.call(b.isTask); c != nil && len(c.items) > 1 {
			i := b.IntN(len(c.items) - 1)
			c.items[i], c.items[i+1] = c.items[i+1], c.items[i]
			c.slots[i], c.slots[i+1] = c.slots[i+1], c.slots[i]
		}
	}},
	{"parts are not worked on at the same time", func(b *biting) {
		if c := b.call(func(c *call) bool { return c.parts > 1 }); c != nil {
			c.parts = 1
		}
	}},
	{"parts are uneven", func(b *biting) {
		c := b.call(func(c *call) bool { return c.parts > 1 })
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].begin == c.begin && len(c.items) >= len(b.calls[i-1].items) {
			later := b.calls[i-1]
			c.items, later.items = append(c.items, later.items[0]), later.items[1:]
			c.slots, later.slots = append(c.slots, later.slots[0]), later.slots[1:]
		}
	}},
	{"a part is left out", func(b *biting) {
		if c := b.call(func(c *call) bool { return c.parts > 1 }); c != nil {
			b.remove(c)
		}
	}},
	{"two writes are swapped", func(b *biting) {
		c := b.call(b.isWrite)
		if c == nil {
			return
		}
		if d := b.call(b.is(c.who)); c != d {
			c.items, d.items = d.items, c.items
			c.slots, d.slots = d.slots, c.slots
		}
	}},
	{"a record shows a mark of another branch", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			i := b.IntN(len(c.items))
			c.items[i] = strings.Replace(c.items[i], "]", ".proc99]", 1)
		}
	}},
	{"a piece has another ID", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			i := b.IntN(len(c.items))
			item, _, hasID := strings.Cut(c.items[i], "#")
			if hasID {
				item += "#9"
			}
			c.items[i] = item
		}
	}},
	{"a piece has no ID", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			i := b.IntN(len(c.items))
			c.items[i], _, _ = strings.Cut(c.items[i], "#")
		}
	}},
	{"a dead letter has an ID", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil && !b.tree.ownIDs {
			i := b.IntN(len(c.items))
			c.items[i] += "#0"
			c.letters[i].form = c.items[i]
		}
	}},
	{"a kept record changes", func(b *biting) {
		if len(b.kept) > 0 {
			b.kept[b.IntN(len(b.kept))].now += ".later"
		}
	}},
	{"a nacked record is not in the dead-letter queue", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			if len(c.items) == 1 {
				b.remove(c)
			} else {
				c.cut(b.IntN(len(c.items)))
			}
		}
	}},
	{"dead letters are written in two calls", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil && len(c.items) > 1 {
			second := c.clone()
			c.items, second.items = c.items[:1], second.items[1:]
			c.slots, second.slots = c.slots[:1], second.slots[1:]
			c.letters, second.letters = c.letters[:1], second.letters[1:]
			b.insert(c, second)
		}
	}},
	{"two dead letters are swapped", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil && len(c.items) > 1 {
			c.items[0], c.items[1] = c.items[1], c.items[0]
			c.slots[0], c.slots[1] = c.slots[1], c.slots[0]
			c.letters[0], c.letters[1] = c.letters[1], c.letters[0]
		}
	}},
	{"a nack on a best-effort branch goes to the dead-letter queue", func(b *biting) {
		i := slices.Index(b.calls, b.call(b.is("ack")))
		isForgiven := b.tree.forgiven()
		if i <= 0 || !slices.ContainsFunc(b.tree.nodes(), func(n *node) bool { return isForgiven[n] && n.id == b.calls[i-1].who }) {
			return
		}
		last := b.calls[i-1].clone()
		text := failure{task: last.who, id: lineage(last.items[0])}.Error()
		b.insert(b.calls[i-1], &call{who: "dlq", items: last.items[:1], slots: last.slots[:1],
			letters: []deadLetter{{form: last.items[0], task: last.who, text: text}}})
	}},
	{"a best-effort branch is not skipped", func(b *biting) {
		for _, head := range b.tree.nodes() {
			calls := b.of(head.id)
			if !head.bestEffort || len(calls) == 0 {
				continue
			}
			last := calls[len(calls)-1]
			parent, _ := b.tree.parent(head)
			isLater := func(c *call) bool {
				isSibling := slices.ContainsFunc(parent.next, func(n *node) bool { return n.id == c.who })
				return isSibling && c.slots[0] > last.slots[len(last.slots)-1]
			}
			if c := b.call(isLater); c != nil {
				again := c.clone()
				again.who, again.parts = head.id, 0
				b.insert(c, again)
				return
			}
		}
	}},
	{"a record is in the dead-letter queue twice", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			b.insert(c, c.clone())
		}
	}},
	{"a record is sent to the dead-letter queue and was not nacked", func(b *biting) {
		c := b.call(b.is("ack"))
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].who != "dlq" {
			nack := &call{who: "dlq"}
			acked := 0
			for _, o := range b.calls[:i] {
				if o.who == "ack" {
					acked += len(o.items)
				}
			}
			for k := range c.items {
				nack.items = append(nack.items, b.tree.form(acked+k).String())
				nack.slots = append(nack.slots, acked+k)
				nack.letters = append(nack.letters, deadLetter{form: nack.items[k], task: "src", text: "no reason"})
			}
			b.insert(b.calls[i-1], nack)
		}
	}},
	{"the dead-letter queue is told another task", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			c.letters[b.IntN(len(c.letters))].task = "src"
		}
	}},
	{"the dead-letter queue is told another error", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			c.letters[b.IntN(len(c.letters))].text = "<somebody fails something>"
		}
	}},
	{"the dead-letter queue is given another version", func(b *biting) {
		if c := b.call(b.is("dlq")); c != nil {
			i := b.IntN(len(c.items))
			c.items[i] = strings.Replace(c.items[i], "[", "[.(proc99)", 1)
			c.letters[i].form = c.items[i]
		}
	}},
	{"a read is missing", func(b *biting) {
		if c := b.call(b.is("read")); c != nil {
			b.remove(c)
		}
	}},
	{"a read is early", func(b *biting) {
		c := b.call(b.is("read"))
		if i := slices.Index(b.calls, c); i > 0 && b.tree.ahead == 0 {
			b.calls[i], b.calls[i-1] = b.calls[i-1], b.calls[i]
			b.renumber()
		}
	}},
	{"a read is made after the last", func(b *biting) {
		if len(b.calls) > 0 {
			b.insert(b.calls[len(b.calls)-1], &call{who: "read", items: []string{"nothing"}})
		}
	}},
	{"a read ahead is late", func(b *biting) {
		c := b.call(b.is("read"))
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].who == "ack" && b.tree.ahead > 0 && b.hasRecords(b.calls[:i]) {
			b.delay(i, 1)
		}
	}},
	{"a batch is late", func(b *biting) {
		c := b.call(b.is(b.tree.first.next[0].id))
		if i := slices.Index(b.calls, c); i > 0 && b.calls[i-1].who == "read" && b.tree.ahead > 0 {
			b.delay(i, 1)
		}
	}},
	{"a call has nothing in it", func(b *biting) {
		if c := b.call(b.isTask); c != nil {
			b.insert(c, &call{who: c.who})
		}
	}},
	{"a destination is not asked for all acks", func(b *biting) {
		if c := b.call(b.isWrite); c != nil {
			c.broken = true
		}
	}},
	{"an error comes from nowhere", func(b *biting) {
		if b.outcome.err == nil {
			b.outcome.err = errTask
		}
	}},
	{"an error is not returned", func(b *biting) { b.outcome.err = nil }},
	{"an error is another one", func(b *biting) {
		if b.outcome.err != nil {
			b.outcome.err = funnel.FatalError(errTorn)
		}
	}},
	{"Do panics", func(b *biting) { b.outcome.panicked = "a bug" }},
	{"Do does not return", func(b *biting) { b.outcome.hung = true }},
	{"Do exits its goroutine", func(b *biting) { b.outcome.exited = true }},
	{"a connector is closed twice", func(b *biting) { b.lives[b.tree.first.id] = life{1, 2} }},
	{"a connector is not closed", func(b *biting) { b.lives[b.tree.first.id] = life{1, 0} }},
	{"a part complains", func(b *biting) { b.wrong = append(b.wrong, "what a mess") }},
}
