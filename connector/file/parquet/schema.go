package parquet

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// node is a column, or a group of columns, of the schema of a file.
//
// The levels are those of the format. If the definition level of a value is at least def, this
// node and all nodes around it are neither null nor empty. If the repetition level of a value
// is rep, the value begins another element of the innermost repeated node, which is this node
// or one around it.
type node struct {
	name       string
	path       []string // the names from the root on
	kind       nodeKind
	is         annotation // of a group
	repetition format.FieldRepetitionType
	rep, def   int
	children   []*node

	first, end int // the indexes of the columns in it

	// Of a column only:
	physical format.Type
	bits     int64 // the least that a value takes in the encoding PLAIN
	convert  converter
	isText   bool // its values are strings
}

type nodeKind int

const (
	column     nodeKind = iota
	group               // its value is a map of its children
	list                // its value is that of its only child, which is repeated
	wrapper             // its value is that of its only child
	dictionary          // its only child is an entry; its value is a map from keys to values
	pairs               // like dictionary, but the keys are not strings: a list of entries
	entry               // key and value
)

// schemaError says why the schema of a file is not supported.
type schemaError struct {
	column string
	reason string
}

func (e *schemaError) Error() string {
	if e.column == "" {
		return e.reason
	}
	return fmt.Sprintf("column %q: %s", e.column, e.reason)
}

const maxLevels = 200

// newSchema returns the root of a schema, and its columns.
func newSchema(elements []format.SchemaElement) (root *node, columns []*node, err error) {
	c := &schemaCompiler{rest: elements}
	if root, err = c.compile(nil); err != nil {
		return nil, nil, err
	}
	switch {
	case len(c.rest) > 0:
		return nil, nil, fmt.Errorf("the schema has %d elements that belong to no group", len(c.rest))
	case root.kind != group:
		return nil, nil, errors.New("the root of the schema is not a plain group")
	}
	return root, c.columns, nil
}

// schemaCompiler makes nodes from the elements of a schema. These are in depth-first order,
// parents first.
type schemaCompiler struct {
	rest    []format.SchemaElement
	columns []*node
}

func (c *schemaCompiler) compile(parent *node) (*node, error) {
	if len(c.rest) == 0 {
		return nil, errors.New("the schema ends within a group")
	}
	e := &c.rest[0]
	c.rest = c.rest[1:]
	n := &node{name: e.Name, first: len(c.columns)}
	if parent != nil {
		n.path = append(slices.Clip(parent.path), n.name)
		if len(n.path) > maxLevels {
			return nil, n.unknown("it is below more than %d groups, which is not supported", maxLevels)
		}
		n.rep, n.def = parent.rep, parent.def
		if e.RepetitionType.Valid {
			n.repetition = e.RepetitionType.V
		}
		switch n.repetition {
		case format.Required:
		case format.Optional:
			n.def++
		case format.Repeated:
			n.rep, n.def = n.rep+1, n.def+1
		default:
			return nil, n.unknown("the repetition type %d is unknown", n.repetition)
		}
	}
	var err error
	if e.Type.Valid {
		n.physical, n.bits = e.Type.V, bitsOf(e)
		n.convert, n.isText, err = converterOf(e)
		if err != nil {
			return nil, n.unknown("%v", err)
		}
		c.columns = append(c.columns, n)
	} else {
		err = c.compileGroup(n, parent, e)
	}
	n.end = len(c.columns)
	return n, err
}

// column returns the path of a node, for errors.
func (n *node) column() string { return strings.Join(n.path, ".") }

// unknown returns a [*schemaError] about a node.
func (n *node) unknown(reason string, args ...any) error {
	return &schemaError{n.column(), fmt.Sprintf(reason, args...)}
}

func (c *schemaCompiler) compileGroup(n, parent *node, e *format.SchemaElement) error {
	var err error
	if n.is, err = annotationOf(e); err != nil {
		return n.unknown("%v", err)
	}
	n.kind = group
	names := make(map[string]bool)
	for range e.NumChildren.V {
		child, err := c.compile(n)
		if err != nil {
			return err
		}
		if names[child.name] {
			return child.unknown("another column of its group has the same name")
		}
		names[child.name] = true
		n.children = append(n.children, child)
	}
	if len(c.columns) == n.first {
		return n.unknown("a group without columns is not supported")
	}
	switch {
	case n.is == annotatedList:
		return n.makeList()
	case n.is == annotatedMap, n.is == annotatedEntry && (parent == nil || parent.is != annotatedMap):
		return n.makeMap()
	}
	return nil
}

type annotation int

const (
	notAnnotated annotation = iota
	annotatedList
	annotatedMap
	annotatedEntry // the entry of a map or, outside of a map, a map
)

// annotationOf returns the annotation of a group.
func annotationOf(e *format.SchemaElement) (annotation, error) {
	switch t := e.LogicalType.Value.(type) {
	case nil:
	case *format.ListType:
		return annotatedList, nil
	case *format.MapType:
		return annotatedMap, nil
	default:
		return 0, fmt.Errorf("a group of the type %v is not supported", t)
	}
	if !e.ConvertedType.Valid {
		return notAnnotated, nil
	}
	switch e.ConvertedType.V {
	case deprecated.List:
		return annotatedList, nil
	case deprecated.Map:
		return annotatedMap, nil
	case deprecated.MapKeyValue:
		return annotatedEntry, nil
	default:
		return 0, fmt.Errorf("a group of the converted type %d is not supported", e.ConvertedType.V)
	}
}

// makeList makes a group a list. Writers describe the elements of lists in different ways; the
// rules for telling them apart are those of the format.
func (n *node) makeList() error {
	if len(n.children) != 1 || n.children[0].repetition != format.Repeated {
		return n.unknown("a list must hold one repeated column or group, and nothing else")
	}
	n.kind = list
	repeated := n.children[0]
	if repeated.kind == group && len(repeated.children) == 1 &&
		repeated.children[0].repetition != format.Repeated &&
		repeated.name != "array" && repeated.name != n.name+"_tuple" {
		repeated.kind = wrapper
	}
	return nil
}

// makeMap makes a group a map. A map without values is a list of its keys.
func (n *node) makeMap() error {
	if len(n.children) != 1 || n.children[0].repetition != format.Repeated || n.children[0].kind != group {
		return n.unknown("a map must hold one repeated group, and nothing else")
	}
	e := n.children[0]
	for _, child := range e.children {
		if child.repetition == format.Repeated {
			return n.unknown("a map with a repeated key or value is not supported")
		}
	}
	switch {
	case len(e.children) == 1:
		n.kind, e.kind = list, wrapper
	case len(e.children) != 2:
		return n.unknown("the entries of a map have %d columns, not 1 or 2", len(e.children))
	case e.children[0].isText:
		n.kind, e.kind = dictionary, entry
	default:
		n.kind, e.kind = pairs, entry
	}
	return nil
}
