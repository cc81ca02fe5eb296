package parquet

import (
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// rowReader assembles rows from the values of the columns. It trusts no level: each value must
// be where the schema and the other columns say, so that damage does not shift values to other
// rows.
type rowReader struct {
	root    *node
	columns []*columnReader
	size    int // bytes of the values in the current row
}

// next returns the next row.
func (r *rowReader) next() (map[string]any, error) {
	r.size = 0
	return r.group(r.root, 0)
}

// value returns the value of a node that begins at the repetition level rep. The nodes around
// it must be neither null nor empty.
func (r *rowReader) value(n *node, rep int) (any, error) {
	switch n.repetition {
	case format.Optional:
		isThere, err := r.isThere(n)
		if err != nil {
			return nil, err
		}
		if !isThere {
			return nil, r.skip(n, rep)
		}
	case format.Repeated:
		elements := []any{}
		err := r.each(n, rep, func(rep int) error {
			element, err := r.content(n, rep)
			elements = append(elements, element)
			return err
		})
		return elements, err
	}
	return r.content(n, rep)
}

// isThere returns false if the next value says that an optional node is null, or that a
// repeated one is empty.
func (r *rowReader) isThere(n *node) (bool, error) {
	c := r.columns[n.first]
	v, err := c.peek()
	switch {
	case err != nil:
		return false, err
	case v == nil:
		return false, c.fault(errTooShort)
	}
	return v.DefinitionLevel() >= n.def, nil
}

// skip reads the levels of a node that is null or empty.
func (r *rowReader) skip(n *node, rep int) error {
	for _, c := range r.columns[n.first:n.end] {
		v, err := c.next()
		if err != nil {
			return err
		}
		if v.RepetitionLevel() != rep || v.DefinitionLevel() != n.def-1 {
			return c.fault(errInconsistent)
		}
	}
	return nil
}

// each calls f for each element of a repeated node, with the repetition level at which the
// element begins.
func (r *rowReader) each(n *node, rep int, f func(rep int) error) error {
	isThere, err := r.isThere(n)
	if err != nil {
		return err
	}
	if !isThere {
		return r.skip(n, rep)
	}
	for {
		if err := f(rep); err != nil {
			return err
		}
		v, err := r.columns[n.first].peek()
		if err != nil {
			return err
		}
		if v == nil || v.RepetitionLevel() < n.rep {
			return nil
		}
		rep = n.rep
	}
}

// content returns the value of a node that is not null, or of one element of a repeated node.
func (r *rowReader) content(n *node, rep int) (any, error) {
	switch n.kind {
	case column:
		return r.leaf(n, rep)
	case list, wrapper:
		return r.value(n.children[0], rep)
	case dictionary:
		return r.dictionary(n, rep)
	case pairs:
		return r.pairs(n, rep)
	default:
		return r.group(n, rep)
	}
}

func (r *rowReader) leaf(n *node, rep int) (any, error) {
	c := r.columns[n.first]
	v, err := c.next()
	if err != nil {
		return nil, err
	}
	if v.RepetitionLevel() != rep || v.DefinitionLevel() != n.def || v.IsNull() {
		return nil, c.fault(errInconsistent)
	}
	return r.convert(c, v)
}

func (r *rowReader) convert(c *columnReader, v *parquet.Value) (any, error) {
	value, size, err := c.convert(*v)
	if err != nil {
		return nil, c.fault(err)
	}
	r.size += size
	return value, nil
}

func (r *rowReader) group(n *node, rep int) (map[string]any, error) {
	m := make(map[string]any, len(n.children))
	for _, child := range n.children {
		v, err := r.value(child, rep)
		if err != nil {
			return nil, err
		}
		m[child.name] = v
	}
	return m, nil
}

func (r *rowReader) dictionary(n *node, rep int) (any, error) {
	m := make(map[string]any)
	e := n.children[0]
	err := r.each(e, rep, func(rep int) error {
		key, err := r.value(e.children[0], rep)
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("column %q: a key is null", n.column())
		}
		if _, ok := m[name]; ok {
			return fmt.Errorf("column %q: the key %.100q occurs twice", n.column(), name)
		}
		m[name], err = r.value(e.children[1], rep)
		return err
	})
	return m, err
}

func (r *rowReader) pairs(n *node, rep int) (any, error) {
	elements := []any{}
	e := n.children[0]
	err := r.each(e, rep, func(rep int) error {
		key, err := r.value(e.children[0], rep)
		if err != nil {
			return err
		}
		value, err := r.value(e.children[1], rep)
		elements = append(elements, map[string]any{"key": key, "value": value})
		return err
	})
	return elements, err
}
