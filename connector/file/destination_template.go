package file

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// template is a path whose elements below a fixed directory may have placeholders. It
// makes the path of a record's file.
type template struct {
	text     string   // as it was given
	fixed    string   // the path if there are no placeholders, or ""
	root     string   // the directory that is the same for all records
	elements []pieces // below root; the last one names the file
}

// pieces are what a path element is made of.
type pieces []piece

// piece is a literal text or a placeholder.
type piece struct {
	literal string
	// placeholder is what stands between the braces, or "".
	placeholder string
	metadata    string   // the key, or ""
	field       []string // the path of a field of the payload, or nil
	rule        escapeRule
}

func (p *piece) isPlaceholder() bool { return p.placeholder != "" }

// metadataPrefix begins a placeholder for metadata.
const metadataPrefix = "metadata:"

// parseTemplate returns the template in a path.
func parseTemplate(path string, isRotated bool) (*template, error) {
	t := &template{text: path}
	all, err := parsePieces(path)
	switch {
	case err != nil:
		return nil, err
	case path == "":
		return nil, errors.New("it is empty")
	case strings.ContainsRune(path, 0):
		return nil, errors.New("it contains a NUL")
	}
	elements := splitElements(all)
	if last := elements[len(elements)-1]; len(last) == 0 {
		return nil, errors.New("it ends in a separator, so it names a directory")
	}
	n := 0 // elements that are the same for all records
	for n < len(elements) && !elements[n].vary() {
		n++
	}
	if n == len(elements) {
		t.fixed = filepath.Clean(path)
		t.root = filepath.Dir(t.fixed)
		return t, nil
	}
	t.root = literalRoot(elements[:n])
	t.elements = elements[n:]
	for i, e := range t.elements {
		if err := e.setRules(isRotated && i == len(t.elements)-1); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// parsePieces divides a path into literals and placeholders.
func parsePieces(path string) (pieces, error) {
	var all pieces
	for rest := path; rest != ""; {
		literal, after, found := strings.Cut(rest, "{{")
		if strings.Contains(literal, "}}") {
			return nil, errors.New(`it has "}}" without "{{" before it`)
		}
		if literal != "" {
			all = append(all, piece{literal: filepath.ToSlash(literal)})
		}
		if !found {
			break
		}
		text, after, found := strings.Cut(after, "}}")
		if !found {
			return nil, fmt.Errorf(`the placeholder {{%s has no "}}"`, text)
		}
		p, err := parsePlaceholder(text)
		if err != nil {
			return nil, fmt.Errorf("the placeholder {{%s}} %w", text, err)
		}
		all = append(all, p)
		rest = after
	}
	return all, nil
}

func parsePlaceholder(text string) (piece, error) {
	p := piece{placeholder: text}
	name := strings.TrimSpace(text)
	if key, ok := strings.CutPrefix(name, metadataPrefix); ok {
		if key == "" {
			return p, errors.New("names no metadata key")
		}
		p.metadata = key
		return p, nil
	}
	if strings.ContainsAny(name, ":{}|()\"' \t\r\n") {
		return p, errors.New("is neither the name of a field, such as {{table}} or {{customer.country}}, nor {{metadata:key}}")
	}
	p.field = strings.Split(name, ".")
	for _, part := range p.field {
		if part == "" {
			return p, errors.New("has an empty field name")
		}
	}
	return p, nil
}

// splitElements divides pieces at the separators in their literals.
func splitElements(all pieces) []pieces {
	elements := []pieces{nil}
	for _, p := range all {
		if p.isPlaceholder() {
			elements[len(elements)-1] = append(elements[len(elements)-1], p)
			continue
		}
		for i, literal := range strings.Split(p.literal, "/") {
			if i > 0 {
				elements = append(elements, nil)
			}
			if literal != "" {
				elements[len(elements)-1] = append(elements[len(elements)-1], piece{literal: literal})
			}
		}
	}
	return elements
}

// literalRoot joins elements that are the same for all records.
func literalRoot(elements []pieces) string {
	var texts []string
	for _, e := range elements {
		text := ""
		for _, p := range e {
			text += p.literal
		}
		texts = append(texts, text)
	}
	if len(texts) == 1 && texts[0] == "" { // the path begins with a separator
		return string(filepath.Separator)
	}
	root := filepath.Clean(filepath.FromSlash(strings.Join(texts, "/")))
	if volume := filepath.VolumeName(root); volume != "" && strings.TrimSuffix(root, ".") == volume {
		root = volume + string(filepath.Separator)
	}
	return root
}

// extension returns the extension of all paths, or "" if it varies.
func (t *template) extension() string {
	if t.fixed != "" {
		return filepath.Ext(t.fixed)
	}
	last := t.elements[len(t.elements)-1]
	return filepath.Ext(last[len(last)-1].literal)
}

// vary reports whether the element differs from record to record.
func (e pieces) vary() bool {
	for i := range e {
		if e[i].isPlaceholder() {
			return true
		}
	}
	return false
}

// appendPath appends the path of the file of a record.
func (t *template) appendPath(dst []byte, r *opencdc.Record) ([]byte, error) {
	if t.fixed != "" {
		return append(dst, t.fixed...), nil
	}
	dst = append(dst, t.root...)
	for _, e := range t.elements {
		if dst[len(dst)-1] != filepath.Separator {
			dst = append(dst, filepath.Separator)
		}
		begin := len(dst)
		firstValue := -1
		for i := range e {
			p := &e[i]
			if !p.isPlaceholder() {
				dst = append(dst, p.literal...)
				continue
			}
			value, err := p.value(r)
			if err != nil {
				return dst, fmt.Errorf("the record names no file: {{%s}} in %s %w", p.placeholder, t.text, err)
			}
			if firstValue < 0 {
				firstValue = len(dst)
			}
			dst = p.rule.append(dst, value)
		}
		if firstValue >= 0 {
			dst = escapeDevice(dst, begin, firstValue)
		}
	}
	return dst, nil
}

// value returns the text that a record has for the placeholder.
func (p *piece) value(r *opencdc.Record) (string, error) {
	if p.metadata != "" {
		text, ok := r.Metadata[p.metadata]
		if !ok {
			return "", errors.New("is not in its metadata")
		}
		return text, nil
	}
	fields, ok := r.Payload.After.(opencdc.StructuredData)
	if !ok {
		return "", errors.New("needs structured data, which the record has not")
	}
	var v any = map[string]any(fields)
	for i, name := range p.field {
		var parent map[string]any
		switch v := v.(type) {
		case map[string]any:
			parent = v
		case opencdc.StructuredData:
			parent = v
		default:
			return "", fmt.Errorf("is not in its payload: %s is a %T", strings.Join(p.field[:i], "."), v)
		}
		if v, ok = parent[name]; !ok {
			return "", errors.New("is not in its payload")
		}
	}
	return textOf(v)
}

// textOf returns a value as it stands in a path, before it is escaped.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case time.Time:
		return v.UTC().Format(time.DateOnly), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case int8, int16, int32, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	case nil:
		return "", errors.New("is null")
	default:
		return "", fmt.Errorf("is a %T, not a text, an integer, a bool or a time", v)
	}
}
