package typenote

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Restore returns the record from which [opencdc.Record.Map] has made the map m, given the
// notes on it. The map may have been encoded as JSON and decoded since, and numbers may have
// become float64, json.Number or integers. The notes are the members of a JSON object that
// [Append] has written, as package encoding/json decodes them into an interface.
//
// If the map and the notes do not fit together, Restore returns an error that says where. The
// record shares no mutable data with the map. Restore replaces long notes by what it has
// parsed, so the time and the memory that it takes are linear in the size of both.
func Restore(m, notes map[string]any) (opencdc.Record, error) {
	return restore(&restorer{left: maxValues}, m, notes)
}

// RestoreUntyped is Restore for a map without notes: the values in structured data keep the
// types that they have. The record may share structured data with the map.
func RestoreUntyped(m map[string]any) (opencdc.Record, error) {
	return restore(&restorer{left: maxValues, isUntyped: true}, m, nil)
}

func restore(s *restorer, m, notes map[string]any) (opencdc.Record, error) {
	r, err := s.record(m, notes)
	if err == nil {
		return r, nil
	}
	err = Shorten(err)
	if len(s.path) > 0 {
		err = fmt.Errorf("%s: %w", s.where(), err)
	}
	return opencdc.Record{}, err
}

// restorer restores values. path leads to the current one, and after an error to the one
// that cannot be restored.
type restorer struct {
	isUntyped bool
	left      int // values
	path      []step
	zones     map[string]*time.Location
}

// step is a step of a path: a field of the record, a key, or an index.
type step struct {
	field string
	key   string
	index int // -1 for a key
}

// where returns the path. It leaves out the middle of a long one.
func (s *restorer) where() string {
	const shown = 16
	var b strings.Builder
	for i, p := range s.path {
		switch {
		case len(s.path) > shown && i >= shown/2 && i < len(s.path)-shown/2:
			if i == shown/2 {
				b.WriteString("[...]")
			}
		case p.field != "":
			b.WriteString(p.field)
		case p.index >= 0:
			fmt.Fprintf(&b, "[%d]", p.index)
		default:
			b.WriteString("[" + quote(p.key) + "]")
		}
	}
	return b.String()
}

// quote quotes a text and, if it is long, cuts it short and adds its length.
func quote(text string) string {
	const shown = 64
	if len(text) <= shown {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%q... (%d bytes)", text[:shown], len(text))
}

// Shorten returns err or, if its text is long, an error with the beginning of the text and
// its length. What is wrong in a letter may be as long as the letter.
func Shorten(err error) error {
	const shown = 256
	text := err.Error()
	if len(text) <= shown {
		return err
	}
	return fmt.Errorf("%s... (%d bytes)", strings.ToValidUTF8(text[:shown], ""), len(text))
}

// describe says what a value is.
func describe(v any) string {
	if v == nil {
		return "null"
	}
	return fmt.Sprintf("of type %T", v)
}

func (s *restorer) record(m, notes map[string]any) (r opencdc.Record, err error) {
	for name, note := range notes {
		switch {
		case note == nil:
			return r, badNote(note)
		case name != "operation" && name != "metadata" && name != "key" && name != "before" && name != "after":
			return r, fmt.Errorf("there is a note on an unknown field %s", quote(name))
		}
	}
	if err := checkFields(m, "position", "operation", "metadata", "key", "payload"); err != nil {
		return r, err
	}
	payload, ok := mapOf(m["payload"])
	if !ok {
		return r, fmt.Errorf("the payload is %s, not an object", describe(m["payload"]))
	}
	if err := checkFields(payload, "before", "after"); err != nil {
		return r, err
	}
	in := func(field string, set func(v, note any) error, v any) {
		if err != nil {
			return
		}
		s.path = append(s.path[:0], step{field: field})
		err = set(v, notes[field])
	}
	in("position", func(v, _ any) (err error) { r.Position, err = decodeBytes(v); return err }, m["position"])
	in("operation", func(v, note any) (err error) { r.Operation, err = operation(v, note); return err }, m["operation"])
	in("metadata", func(v, note any) (err error) { r.Metadata, err = s.metadata(v, note); return err }, m["metadata"])
	in("key", func(v, note any) (err error) { r.Key, err = s.data(v, note); return err }, m["key"])
	in("before", func(v, note any) (err error) { r.Payload.Before, err = s.data(v, note); return err }, payload["before"])
	in("after", func(v, note any) (err error) { r.Payload.After, err = s.data(v, note); return err }, payload["after"])
	return r, err
}

// checkFields returns an error if a field is missing. It would be taken for null.
func checkFields(m map[string]any, names ...string) error {
	for _, name := range names {
		if _, ok := m[name]; !ok {
			return fmt.Errorf("the field %s is missing", name)
		}
	}
	return nil
}

func mapOf(v any) (map[string]any, bool) {
	switch m := v.(type) {
	case map[string]any:
		return m, true
	case opencdc.StructuredData:
		return m, true
	default:
		return nil, false
	}
}

func operation(v, note any) (opencdc.Operation, error) {
	text, ok := v.(string)
	switch {
	case !ok || text == "":
		return 0, fmt.Errorf("it is %s, not the name of an operation", describe(v))
	case note == unset:
		return 0, nil
	case note != nil:
		return 0, badNote(note)
	}
	var op opencdc.Operation
	if err := op.UnmarshalText([]byte(text)); err != nil {
		return 0, err
	}
	return op, nil
}

func (s *restorer) metadata(v, note any) (opencdc.Metadata, error) {
	if m, ok := mapOf(v); note == nil && (v == nil || ok && m == nil) {
		return nil, nil
	}
	restored, err := s.value(v, note, named["opencdc.Metadata"])
	if err != nil {
		return nil, err
	}
	return restored.(opencdc.Metadata), nil
}

// data restores the key or a payload of a record.
func (s *restorer) data(v, note any) (opencdc.Data, error) {
	if text, ok := note.(string); ok {
		return nilData(v, text)
	}
	m, isMap := mapOf(v)
	switch {
	case isMap && s.isUntyped:
		return opencdc.StructuredData(m), nil
	case isMap:
		restored, err := s.value(m, note, named["opencdc.StructuredData"])
		if err != nil {
			return nil, err
		}
		return restored.(opencdc.StructuredData), nil
	case note != nil:
		return nil, fmt.Errorf("it is %s, not an object, but there are notes on its members", describe(v))
	case v == nil:
		return nil, nil
	}
	b, err := decodeBytes(v)
	if err != nil {
		return nil, err
	}
	return opencdc.RawData(b), nil
}

// nilData restores nil data from its note.
func nilData(v any, text string) (opencdc.Data, error) {
	n, err := parseNote(text)
	switch {
	case err != nil:
		return nil, err
	case n.more != isNil || n.t != named["opencdc.RawData"] && n.t != named["opencdc.StructuredData"]:
		return nil, badNote(text)
	case !isNullOrEmpty(v):
		return nil, fmt.Errorf("it is %s, not null, as the note %s says", describe(v), quote(text))
	case n.t == named["opencdc.RawData"]:
		return opencdc.RawData(nil), nil
	default:
		return opencdc.StructuredData(nil), nil
	}
}

var errManyRestored = errors.New("there are more than a million values")
