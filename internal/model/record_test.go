package model

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// The records. What a record holds follows from its form
// alone: the lineage, the position and the marks of the tasks that changed it.
// The marks stand in many places of the record, some of them deep, and a task
// sets them in all places. A record that is touched by somebody else's task
// therefore shows marks that are not those of its own way, or different marks
// in different places.

// form is what a record looks like.
type form struct {
	// id is the lineage: "3" is the fourth record of the source, "3/0" the
	// first piece that it was split into, "3/0/1" the second piece of that.
	id string
	// pos is the position.
	pos string
	// marks holds a ".ID" for each task that changed the record, in order.
	marks string
	// piece is the ID of a piece, or what the source has put in its place.
	piece string
}

// String returns the form as it is shown in traces.
func (f form) String() string {
	shown := f.id + "@" + f.pos + "[" + f.marks + "]"
	if f.piece != "" {
		shown += "#" + f.piece
	}
	return shown
}

// isPiece reports whether the record is a piece of another one.
func (f form) isPiece() bool { return strings.Contains(f.id, "/") }

// withID returns the form of a piece that shows its path through the splits.
func (f form) withID() form {
	_, path, _ := strings.Cut(f.id, "/")
	f.piece = strings.ReplaceAll(path, "/", ".")
	return f
}

// slot returns the index of the source record that the lineage starts at, -1
// if the lineage is not one.
func (f form) slot() int {
	root, _, _ := strings.Cut(f.id, "/")
	slot, err := strconv.Atoi(root)
	if err != nil {
		return -1
	}
	return slot
}

// lineage returns the lineage in a form as it is shown in traces.
func lineage(shown string) string {
	id, _, _ := strings.Cut(shown, "@")
	return id
}

// compareLineage orders lineages as a destination has to see them: in source
// order, pieces in the order of the split.
func compareLineage(a, b string) int {
	parse := func(id string) []int {
		var way []int
		for part := range strings.SplitSeq(id, "/") {
			n, err := strconv.Atoi(part)
			if err != nil {
				n = -1
			}
			way = append(way, n)
		}
		return way
	}
	return slices.Compare(parse(a), parse(b))
}

// record builds the record of the form. Nothing in it is shared with any other
// record. The kind of the key and of the payload before the change depends on
// the source record, so that a batch has raw, structured and absent data.
func (f form) record() opencdc.Record {
	slot := f.slot()
	rec := opencdc.Record{
		Position:  opencdc.Position(f.pos),
		Operation: operationOf(slot),
		Metadata:  opencdc.Metadata{"id": f.id, "marks": f.marks},
	}
	if f.piece != "" {
		rec.Metadata[funnel.MetadataPieceID] = f.piece
	}
	switch slot % 3 {
	case 0:
		rec.Key = opencdc.StructuredData{
			"marks": f.marks,
			"inner": map[string]any{"marks": f.marks},
		}
	case 1:
		rec.Key = opencdc.RawData(digestOf(f.marks))
	}
	switch slot / 3 % 3 {
	case 0:
		rec.Payload.Before = opencdc.StructuredData{
			"list": []any{"x", map[string]any{"marks": f.marks}},
		}
	case 1:
		rec.Payload.Before = opencdc.RawData(digestOf(f.marks))
	}
	rec.Payload.After = opencdc.StructuredData{
		"id":      f.id,
		"map":     map[string]any{"list": []any{map[string]any{"marks": f.marks}, []any{f.marks}}},
		"strings": []string{f.marks},
		"bytes":   digestOf(f.marks),
		"maps":    []map[string]any{{"marks": f.marks}},
		"typed":   map[string]string{"marks": f.marks},
		"nested":  opencdc.StructuredData{"marks": f.marks},
		"lists":   map[string][]string{"marks": {f.marks}},
	}
	return rec
}

// operationOf is the operation of the records that come from a source record.
func operationOf(slot int) opencdc.Operation {
	return opencdc.Operation(slot%4 + 1)
}

// digestOf is the form that marks take in a place that holds bytes. Its
// length does not depend on the marks, so that it can be changed in place.
func digestOf(marks string) []byte {
	h := fnv.New64a()
	_, _ = h.Write([]byte(marks))
	return binary.BigEndian.AppendUint64(nil, h.Sum64())
}

// markAll adds a mark to all places of the record, in place.
func markAll(rec opencdc.Record, mark string) {
	marks := rec.Metadata["marks"] + mark
	digest := digestOf(marks)
	(&places{
		text:  func(string, string) (string, bool) { return marks, true },
		bytes: func(_ string, b []byte) { copy(b, digest) },
	}).visit(rec)
}

// isSame reports whether a is b, or a copy that shares what b holds.
func isSame(a, b opencdc.Record) bool {
	return bytes.Equal(a.Position, b.Position) && a.Operation == b.Operation &&
		reflect.ValueOf(a.Metadata).Pointer() == reflect.ValueOf(b.Metadata).Pointer()
}

// formOf reads the form of a record. If the places of the record do not
// agree, the lineage of the form says so.
func formOf(rec opencdc.Record) form {
	f := form{id: rec.Metadata["id"], pos: string(rec.Position), marks: rec.Metadata["marks"]}
	f.piece = rec.Metadata[funnel.MetadataPieceID]
	digest := string(digestOf(f.marks))
	var torn []string
	(&places{
		text: func(place, marks string) (string, bool) {
			if marks != f.marks {
				torn = append(torn, fmt.Sprintf("%s is %q", place, marks))
			}
			return "", false
		},
		bytes: func(place string, b []byte) {
			if string(b) != digest {
				torn = append(torn, place)
			}
		},
		lost: func(place string) { torn = append(torn, "no "+place) },
	}).visit(rec)
	if want := operationOf(f.slot()); f.slot() >= 0 && rec.Operation != want {
		torn = append(torn, "operation "+rec.Operation.String())
	}
	if after, ok := rec.Payload.After.(opencdc.StructuredData); ok && after["id"] != f.id {
		torn = append(torn, fmt.Sprintf("id in the payload is %v", after["id"]))
	}
	if torn != nil {
		f.id += " torn: " + strings.Join(torn, ", ")
	}
	return f
}

// formOfMap reads the form of a record from what [opencdc.Record.Map]
// made of it.
func formOfMap(m map[string]any) form {
	var rec opencdc.Record
	if position, ok := m["position"].([]byte); ok {
		rec.Position = position
	}
	if operation, ok := m["operation"].(string); ok {
		_ = rec.Operation.UnmarshalText([]byte(operation))
	}
	if metadata, ok := m["metadata"].(map[string]any); ok {
		rec.Metadata = opencdc.Metadata{}
		for k, v := range metadata {
			rec.Metadata[k], _ = v.(string)
		}
	}
	data := func(v any) opencdc.Data {
		switch v := v.(type) {
		case map[string]any:
			return opencdc.StructuredData(v)
		case opencdc.StructuredData:
			return v
		case []byte:
			return opencdc.RawData(v)
		case opencdc.RawData:
			return v
		}
		return nil
	}
	rec.Key = data(m["key"])
	if payload, ok := m["payload"].(map[string]any); ok {
		rec.Payload.Before = data(payload["before"])
		rec.Payload.After = data(payload["after"])
	}
	return formOf(rec)
}

// places visits every place of a record that holds marks.
type places struct {
	// text is given the marks in a place and returns what to put there instead.
	text func(place, marks string) (string, bool)
	// bytes is given the bytes of a place that holds a digest.
	bytes func(place string, b []byte)
	// lost is told of a place that the record should have and has not.
	lost func(place string)
}

func (p *places) visit(rec opencdc.Record) {
	if rec.Metadata == nil {
		p.miss("metadata")
		return
	}
	if marks, ok := p.text("metadata", rec.Metadata["marks"]); ok {
		rec.Metadata["marks"] = marks
	}
	slot := form{id: rec.Metadata["id"]}.slot()
	switch key := rec.Key.(type) {
	case opencdc.StructuredData:
		p.entry("key", key)
		inner, _ := key["inner"].(map[string]any)
		p.entry("map in key", inner)
	case opencdc.RawData:
		p.bytes("raw key", key)
	}
	if (rec.Key == nil) != (slot%3 == 2) {
		p.miss("key as it was")
	}
	switch before := rec.Payload.Before.(type) {
	case opencdc.StructuredData:
		list, _ := before["list"].([]any)
		p.element("list in before", list, 1)
	case opencdc.RawData:
		p.bytes("raw before", before)
	}
	if (rec.Payload.Before == nil) != (slot/3%3 == 2) {
		p.miss("payload before as it was")
	}
	after, ok := rec.Payload.After.(opencdc.StructuredData)
	if !ok {
		p.miss("payload after")
		return
	}
	p.visitAfter(after)
}

func (p *places) visitAfter(after opencdc.StructuredData) {
	outer, _ := after["map"].(map[string]any)
	list, _ := outer["list"].([]any)
	p.element("list of maps", list, 0)
	if len(list) == 2 {
		inner, _ := list[1].([]any)
		if len(inner) == 1 {
			old, _ := inner[0].(string)
			if marks, ok := p.text("list in list", old); ok {
				inner[0] = marks
			}
		} else {
			p.miss("list in list")
		}
	}
	plain, _ := after["strings"].([]string)
	p.strings("strings", plain)
	b, ok := after["bytes"].([]byte)
	if !ok {
		p.miss("bytes")
	}
	p.bytes("bytes", b)
	maps, _ := after["maps"].([]map[string]any)
	if len(maps) == 1 {
		p.entry("typed list of maps", maps[0])
	} else {
		p.miss("typed list of maps")
	}
	typed, ok := after["typed"].(map[string]string)
	if !ok {
		p.miss("map of strings")
	} else if marks, ok := p.text("map of strings", typed["marks"]); ok {
		typed["marks"] = marks
	}
	nested, _ := after["nested"].(opencdc.StructuredData)
	p.entry("structured data in payload", nested)
	lists, _ := after["lists"].(map[string][]string)
	p.strings("map of lists", lists["marks"])
}

func (p *places) entry(place string, m map[string]any) {
	old, ok := m["marks"].(string)
	if !ok {
		p.miss(place)
		return
	}
	if marks, ok := p.text(place, old); ok {
		m["marks"] = marks
	}
}

func (p *places) element(place string, list []any, i int) {
	if i >= len(list) {
		p.miss(place)
		return
	}
	m, _ := list[i].(map[string]any)
	p.entry(place, m)
}

func (p *places) strings(place string, list []string) {
	if len(list) != 1 {
		p.miss(place)
		return
	}
	if marks, ok := p.text(place, list[0]); ok {
		list[0] = marks
	}
}

func (p *places) miss(place string) {
	if p.lost != nil {
		p.lost(place)
	}
}
