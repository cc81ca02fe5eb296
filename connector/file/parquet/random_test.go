package parquet_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/conduitio/funnel/connector/file/parquet"
)

// shape is a node of a random schema. It can make values and write them.
type shape struct {
	name     string
	repeat   string // "required", "optional" or "repeated"
	kind     string // "leaf", "group", "list" or "map"
	leaf     leafShape
	children []*shape // of a group, sorted by name; a list has its element, a map its key and value
}

// cell is a value of a column: as it is written, and as it should be read.
type cell struct {
	written pq.Value
	want    any
}

// node returns the node of the library.
func (s *shape) node(rng *rand.Rand) pq.Node {
	var n pq.Node
	switch s.kind {
	case "leaf":
		n = s.leaf.node
		if s.leaf.canDictionary && rng.IntN(2) == 0 {
			n = pq.Encoded(n, &pq.RLEDictionary)
		}
	case "group":
		g := pq.Group{}
		for _, child := range s.children {
			g[child.name] = child.node(rng)
		}
		n = g
	case "list":
		n = pq.List(s.children[0].node(rng))
	case "map":
		n = pq.Map(s.children[0].node(rng), s.children[1].node(rng))
	}
	switch s.repeat {
	case "optional":
		return pq.Optional(n)
	case "repeated":
		return pq.Repeated(n)
	}
	return pq.Required(n)
}

// make returns a random value: nil, a cell, a []any, or a map[string]any, and for maps a
// []any of pairs of values.
func (s *shape) make(rng *rand.Rand) any {
	switch {
	case s.repeat == "optional" && rng.IntN(3) == 0:
		return nil
	case s.repeat == "repeated":
		return many(rng, func() any { return s.makeOne(rng) })
	}
	return s.makeOne(rng)
}

func many(rng *rand.Rand, f func() any) []any {
	out := []any{}
	for range rng.IntN(4) {
		out = append(out, f())
	}
	return out
}

func (s *shape) makeOne(rng *rand.Rand) any {
	switch s.kind {
	case "leaf":
		return s.leaf.make(rng)
	case "list":
		return many(rng, func() any { return s.children[0].make(rng) })
	case "map":
		seen := make(map[string]bool)
		return slices.DeleteFunc(
			many(rng, func() any { return [2]any{s.children[0].make(rng), s.children[1].make(rng)} }),
			func(pair any) bool {
				key := fmt.Sprint(pair.([2]any)[0].(cell).want)
				isAgain := seen[key]
				seen[key] = true
				return isAgain
			})
	}
	m := make(map[string]any)
	for _, child := range s.children {
		m[child.name] = child.make(rng)
	}
	return m
}

// want returns the value that a source should return.
func (s *shape) want(v any) any {
	switch {
	case v == nil:
		return nil
	case s.repeat == "repeated":
		return each(v, s.wantOne)
	}
	return s.wantOne(v)
}

func each(v any, f func(any) any) []any {
	out := []any{}
	for _, e := range v.([]any) {
		out = append(out, f(e))
	}
	return out
}

func (s *shape) wantOne(v any) any {
	switch s.kind {
	case "leaf":
		return v.(cell).want
	case "list":
		return each(v, s.children[0].want)
	case "map":
		if _, isText := s.children[0].leaf.make(rand.New(rand.NewPCG(0, 0))).want.(string); !isText {
			return each(v, func(pair any) any {
				p := pair.([2]any)
				return map[string]any{"key": s.children[0].want(p[0]), "value": s.children[1].want(p[1])}
			})
		}
		m := make(map[string]any)
		for _, pair := range v.([]any) {
			p := pair.([2]any)
			m[s.children[0].want(p[0]).(string)] = s.children[1].want(p[1])
		}
		return m
	}
	m := make(map[string]any)
	for _, child := range s.children {
		m[child.name] = child.want(v.(map[string]any)[child.name])
	}
	return m
}

// shredder writes rows as values with levels.
type shredder struct {
	row    [][]pq.Value // by column
	column int
}

// shred writes a value that begins at the levels rep and def. maxRep is the level of the
// innermost repeated node around it.
func (d *shredder) shred(s *shape, v any, rep, def, maxRep int, isThere bool) {
	if s.repeat == "optional" {
		isThere = isThere && v != nil
		if isThere {
			def++
		}
	}
	if s.repeat == "repeated" {
		d.elements(v, rep, def, maxRep, isThere, func(e any, rep, def, maxRep int, isThere bool) {
			d.one(s, e, rep, def, maxRep, isThere)
		})
		return
	}
	d.one(s, v, rep, def, maxRep, isThere)
}

func (d *shredder) elements(v any, rep, def, maxRep int, isThere bool, f func(e any, rep, def, maxRep int, isThere bool)) {
	var all []any
	if isThere {
		all = v.([]any)
	}
	start := d.column
	if len(all) == 0 {
		f(nil, rep, def, maxRep+1, false)
	}
	for _, e := range all {
		d.column = start
		f(e, rep, def+1, maxRep+1, true)
		rep = maxRep + 1
	}
}

func (d *shredder) one(s *shape, v any, rep, def, maxRep int, isThere bool) {
	switch s.kind {
	case "leaf":
		value := pq.NullValue()
		if isThere {
			value = v.(cell).written
		}
		d.row[d.column] = append(d.row[d.column], value.Level(rep, def, d.column))
		d.column++
	case "list":
		d.elements(v, rep, def, maxRep, isThere, func(e any, rep, def, maxRep int, isThere bool) {
			d.shred(s.children[0], e, rep, def, maxRep, isThere)
		})
	case "map":
		d.elements(v, rep, def, maxRep, isThere, func(e any, rep, def, maxRep int, isThere bool) {
			pair, _ := e.([2]any)
			d.shred(s.children[0], pair[0], rep, def, maxRep, isThere)
			d.shred(s.children[1], pair[1], rep, def, maxRep, isThere)
		})
	case "group":
		m, _ := v.(map[string]any)
		for _, child := range s.children {
			d.shred(child, m[child.name], rep, def, maxRep, isThere)
		}
	}
}

// randomShape returns a random node with the name.
func randomShape(rng *rand.Rand, name string, depth int) *shape {
	s := &shape{name: name, kind: "leaf", repeat: []string{"required", "optional", "optional", "repeated"}[rng.IntN(4)]}
	if depth < 3 && rng.IntN(2) == 0 {
		s.kind = []string{"group", "list", "map"}[rng.IntN(3)]
	}
	switch s.kind {
	case "leaf":
		s.leaf = leafShapes[rng.IntN(len(leafShapes))]
	case "group":
		for i := range 1 + rng.IntN(3) {
			s.children = append(s.children, randomShape(rng, fmt.Sprintf("f%d", i), depth+1))
		}
	case "list":
		s.repeat = []string{"required", "optional"}[rng.IntN(2)]
		s.children = []*shape{notRepeated(rng, "element", depth)}
	case "map":
		s.repeat = []string{"required", "optional"}[rng.IntN(2)]
		key := &shape{name: "key", kind: "leaf", repeat: "required", leaf: leafShapes[rng.IntN(len(leafShapes))]}
		s.children = []*shape{key, notRepeated(rng, "value", depth)}
	}
	return s
}

func notRepeated(rng *rand.Rand, name string, depth int) *shape {
	for {
		if s := randomShape(rng, name, depth+1); s.repeat != "repeated" {
			return s
		}
	}
}

// randomFile returns a file of random rows with a random schema, and the rows that a source
// should return.
func randomFile(t testing.TB, rng *rand.Rand) (content []byte, want []map[string]any) {
	root := &shape{name: "root", kind: "group", repeat: "required"}
	for i := range 1 + rng.IntN(5) {
		root.children = append(root.children, randomShape(rng, fmt.Sprintf("f%d", i), 0))
	}
	schema := pq.NewSchema("root", root.node(rng))
	codecs := []compress.Codec{&pq.Uncompressed, &pq.Snappy, &pq.Gzip, &pq.Brotli, &pq.Zstd}
	var b bytes.Buffer
	w := pq.NewWriter(&b, schema,
		pq.Compression(codecs[rng.IntN(len(codecs))]),
		pq.DataPageVersion(1+rng.IntN(2)),
		pq.PageBufferSize(50+rng.IntN(1000)),
		pq.MaxRowsPerRowGroup(int64(1+rng.IntN(100))),
		pq.DataPageStatistics(rng.IntN(2) == 0),
	)
	for range rng.IntN(200) {
		v := root.make(rng)
		d := &shredder{row: make([][]pq.Value, len(schema.Columns()))}
		d.shred(root, v, 0, 0, 0, true)
		_, err := w.WriteRows([]pq.Row{slices.Concat(d.row...)})
		must(t, err)
		want = append(want, root.want(v).(map[string]any))
	}
	must(t, w.Close())
	return b.Bytes(), want
}

// Rows of any schema are read as they were written, from any row on.
func TestSource_randomSchemas(t *testing.T) {
	runs := 60
	if testing.Short() {
		runs = 20
	}
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			content, want := randomFile(t, rng)
			path := save(t, t.TempDir(), "a.parquet", content)
			age(t, path, time.Hour) // a young file has other positions than an old one
			all := mustReadAll(t, opened(t, path, nil, parquet.WithBatch(1+rng.IntN(100), 1<<20)))
			if len(all) != len(want) {
				t.Fatalf("%d rows, want %d", len(all), len(want))
			}
			for i, rec := range all {
				if got := row(rec); !reflect.DeepEqual(got, want[i]) {
					t.Fatalf("row %d: got %#v\nwant %#v", i+1, got, want[i])
				}
				if n := rec.Metadata[parquet.MetadataRow]; n != fmt.Sprint(i+1) {
					t.Fatalf("row %d has the number %s", i+1, n)
				}
			}
			for range min(5, len(all)) {
				i := rng.IntN(len(all))
				rest := mustReadAll(t, opened(t, path, all[i].Position))
				if len(rest) != len(all)-i-1 {
					t.Fatalf("after row %d: %d rows, want %d", i+1, len(rest), len(all)-i-1)
				}
				for j, rec := range rest {
					if !reflect.DeepEqual(rec, all[i+1+j]) {
						t.Fatalf("after row %d: row %d is %v, want %v", i+1, i+2+j, rec, all[i+1+j])
					}
				}
			}
		})
	}
}
