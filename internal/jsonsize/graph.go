package jsonsize

import (
	"math"
	"reflect"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/nesting"
)

// expansion is how many more values may be marshalled than there are.
const expansion = 1 << 20

// small is the budget within which a thing is measured again each time it is met, which
// costs no more than remembering it. toll keeps such a measurement from going deep in
// vain.
const (
	small = 40
	toll  = 9
)

// long is the length from which a text is remembered.
const long = 256

// graph measures each thing in a key or payload once. It meets things from the outside
// in, level by level, and adds their sizes up on the way back.
type graph struct {
	maxDepth int // levels
	small    int // the budget for things that are not remembered
	walk     walk
	things   map[nesting.Ref]int // indexes of nodes
	nodes    []node
	edges    []edge
	// current is the node whose parts are being walked.
	current int
	// sizes has the sizes of texts. again counts the pieces of text that had been met
	// before.
	sizes map[nesting.Ref]int
	again int
}

// node is a map, slice, array, pointer or the like.
type node struct {
	value any
	kind  formKind
	void  bool // counts as 0
	// needed is set if the size counts on its own, not only as part of something that
	// is marshalled as a whole.
	needed bool
	level  int
	// pending is how many parts are still to be resolved; negative if they do not
	// matter.
	pending int
	edge    int // the first edge to a node that holds this one, or 0
	// size is that of the JSON. weight and height are the numbers of values and of
	// levels that the encoder meets.
	size, weight, height int
}

// edge leads from a part to the node that holds it. A node that holds another one twice
// has two edges.
type edge struct {
	whole int
	next  int // another edge from the same part, or 0
}

// measure returns the size of data that is large or deep.
func measure(d opencdc.Data) int {
	return newGraph(nesting.MaxDepth, small).measure(d)
}

func newGraph(maxDepth, small int) *graph {
	g := &graph{maxDepth: maxDepth, small: small}
	g.things, g.sizes = make(map[nesting.Ref]int), make(map[nesting.Ref]int)
	g.edges = make([]edge, 1)
	g.walk.graph = g
	return g
}

func (g *graph) measure(d opencdc.Data) int {
	g.node(d)
	for i := 0; i < len(g.nodes); i++ {
		g.expand(i)
	}
	there := -g.again
	for i := range g.nodes {
		there = add(there, g.nodes[i].weight)
	}
	order := g.resolve()
	if g.nodes[0].pending > 0 {
		return 0 // it holds itself
	}
	g.choose(order, add(there, expansion))
	for _, i := range order {
		n := &g.nodes[i]
		switch {
		case n.void || !n.needed:
			continue
		case i == 0 && n.kind == opaque:
			n.size = printed(d)
		case n.kind == opaque:
			n.size = marshalled(n.value)
		}
		for e := n.edge; e > 0; e = g.edges[e].next {
			whole := &g.nodes[g.edges[e].whole]
			whole.size = add(whole.size, n.size)
		}
	}
	return g.nodes[0].size
}

// node returns the index of the node of a thing, which it makes if there is none.
func (g *graph) node(v any) int {
	ref := nesting.RefOf(v)
	i, ok := g.things[ref]
	if !ok {
		i = len(g.nodes)
		g.things[ref] = i
		g.nodes = append(g.nodes, node{value: v, level: 1, height: 1, kind: open})
		switch v.(type) {
		case map[string]any, opencdc.StructuredData, []any:
		default:
			g.nodes[i].kind = formOf(reflect.TypeOf(v)).kind
		}
	}
	return i
}

// container returns the size of a thing inside the current one if it is small.
// Otherwise it meets it.
func (g *graph) container(v any) int {
	if g.nodes[g.current].level <= g.maxDepth-g.small {
		w := walk{left: g.small, toll: toll}
		if n := w.parts(v); w.left >= 0 {
			g.walk.left -= g.small - w.left
			return n
		}
	}
	return g.meet(v)
}

// meet is called for each thing in the current one. It returns 0, since the size is
// added later, unless there is nothing to measure.
func (g *graph) meet(v any) int {
	rv := reflect.ValueOf(v)
	isValue := nesting.IsValue(rv.Type())
	switch rv.Kind() {
	case reflect.Map, reflect.Pointer, reflect.Slice:
		if rv.IsNil() && formOf(rv.Type()).kind == open {
			return len("null")
		}
		isValue = isValue || rv.IsNil()
	case reflect.Array, reflect.Struct:
	default:
		isValue = true
	}
	known := len(g.nodes)
	i := g.node(v)
	if i == known {
		g.nodes[i].level = g.nodes[g.current].level + 1
		if isValue {
			g.nodes[i].height = 0
		}
	}
	g.edges = append(g.edges, edge{whole: g.current, next: g.nodes[i].edge})
	g.nodes[i].edge = len(g.edges) - 1
	g.nodes[g.current].pending++
	return 0
}

// expand walks the parts of a node.
func (g *graph) expand(i int) {
	if n := &g.nodes[i]; n.kind == formless || n.level+n.height-1 > g.maxDepth {
		g.exclude(n)
		return
	}
	g.current = i
	g.walk.left = math.MaxInt
	size := g.walk.parts(g.nodes[i].value)
	n := &g.nodes[i]
	n.size, n.weight = size, math.MaxInt-g.walk.left
}

// exclude makes a node, and everything marshalled with it, count as 0.
func (g *graph) exclude(n *node) {
	n.void, n.size = true, 0
	n.height = g.maxDepth + 1
}

// nest sets the number of levels inside the current node, which otherwise counts as a
// single value.
func (g *graph) nest(levels int) {
	g.nodes[g.current].height = levels
}

// text returns the size of a JSON string.
func (g *graph) text(s string) int {
	if len(s) < long {
		return text(s)
	}
	ref := nesting.RefOf(s)
	size, ok := g.sizes[ref]
	if !ok {
		size = text(s)
		g.sizes[ref] = size
		return size
	}
	g.again += len(s) / piece
	return size
}

// bytes remembers bytes that were met.
func (g *graph) bytes(b []byte) {
	if len(b) < long {
		return
	}
	ref := nesting.RefOf(b)
	if _, ok := g.sizes[ref]; ok {
		g.again += len(b) / piece
	}
	g.sizes[ref] = 0
}

// resolve adds up weights and heights. It returns the nodes, parts before the nodes
// that hold them. Nodes that hold themselves are missing, except those that count as 0
// for that reason.
func (g *graph) resolve() []int {
	order := make([]int, 0, len(g.nodes))
	for i := range g.nodes {
		if g.nodes[i].pending == 0 {
			order = append(order, i)
		}
	}
	order = g.resolveFrom(order, 0)
	done := len(order)
	for i := range g.nodes {
		n := &g.nodes[i]
		if n.pending <= 0 {
			continue
		}
		switch n.value.(type) {
		case map[string]any, opencdc.StructuredData, []any:
		default:
			g.exclude(n)
			n.pending = math.MinInt
			order = append(order, i)
		}
	}
	return g.resolveFrom(order, done)
}

func (g *graph) resolveFrom(order []int, from int) []int {
	for ; from < len(order); from++ {
		n := &g.nodes[order[from]]
		for e := n.edge; e > 0; e = g.edges[e].next {
			i := g.edges[e].whole
			whole := &g.nodes[i]
			whole.weight = add(whole.weight, n.weight)
			whole.height = max(whole.height, n.height+1)
			if whole.pending--; whole.pending == 0 {
				order = append(order, i)
			}
		}
	}
	return order
}

// choose finds out which nodes are needed, and excludes values that are too deep or too
// large to be marshalled. Together, the marshalled values may have at most the weight
// most.
func (g *graph) choose(order []int, most int) {
	g.nodes[0].needed = true
	var marshalled []*node
	for _, i := range slices.Backward(order) {
		n := &g.nodes[i]
		for e := n.edge; e > 0 && !n.needed; e = g.edges[e].next {
			whole := &g.nodes[g.edges[e].whole]
			n.needed = whole.needed && whole.kind == open && !whole.void
		}
		if !n.needed || n.kind != opaque {
			continue
		}
		if n.level+n.height-1 > g.maxDepth {
			g.exclude(n)
		} else {
			marshalled = append(marshalled, n)
		}
	}
	limit := most
	for ; total(marshalled, limit) > most; limit /= 2 {
	}
	for _, n := range marshalled {
		n.void = n.weight > limit
	}
}

// total returns the total weight of the nodes with at most limit each.
func total(nodes []*node, limit int) (sum int) {
	for _, n := range nodes {
		if n.weight <= limit {
			sum = add(sum, n.weight)
		}
	}
	return sum
}
