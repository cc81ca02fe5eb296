package parquet_test

import (
	"fmt"
	"strings"
	"testing"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// outer is a row with a group "c" that holds a repeated column.
type outer[T any] struct {
	C struct {
		Array []T `parquet:"array"`
	} `parquet:"c"`
}

func outers[T any](rows ...[]T) (out []outer[T]) {
	for _, r := range rows {
		var o outer[T]
		o.C.Array = r
		out = append(out, o)
	}
	return out
}

type one struct {
	A int32 `parquet:"a"`
}

type two struct {
	A int32  `parquet:"a"`
	B string `parquet:"b"`
}

type sub struct {
	L []int32 `parquet:"l"`
}

// asGroup returns a file whose group "c" is a list or map in the deprecated form, and renames
// the child of the group.
func asGroup(t testing.TB, content []byte, c deprecated.ConvertedType, name string) []byte {
	return withFooter(t, content, func(meta *format.FileMetaData) {
		meta.Schema[1].ConvertedType = thrift.New(c)
		meta.Schema[2].Name = name
		for i := range meta.RowGroups {
			for j := range meta.RowGroups[i].Columns {
				meta.RowGroups[i].Columns[j].MetaData.PathInSchema[1] = name
			}
		}
	})
}

// Lists and maps have several forms.
func TestSource_oldLists(t *testing.T) {
	ints := encoded(t, outers([]int32{1, 2}, nil))
	ones := encoded(t, outers([]one{{1}, {2}}, nil))
	twos := encoded(t, outers([]two{{1, "x"}, {2, "y"}}, nil))
	subs := encoded(t, outers([]sub{{[]int32{1, 2}}, {}}, nil))
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"no list":             {ints, "map[c:map[array:[1 2]]] map[c:map[array:[]]]"},
		"two levels":          {asGroup(t, ints, deprecated.List, "any"), "map[c:[1 2]] map[c:[]]"},
		"three levels":        {asGroup(t, ones, deprecated.List, "any"), "map[c:[1 2]] map[c:[]]"},
		"group named array":   {asGroup(t, ones, deprecated.List, "array"), "map[c:[map[a:1] map[a:2]]] map[c:[]]"},
		"group named c_tuple": {asGroup(t, ones, deprecated.List, "c_tuple"), "map[c:[map[a:1] map[a:2]]] map[c:[]]"},
		"group of two":        {asGroup(t, twos, deprecated.List, "any"), "map[c:[map[a:1 b:x] map[a:2 b:y]]] map[c:[]]"},
		"group of a list":     {asGroup(t, subs, deprecated.List, "any"), "map[c:[map[l:[1 2]] map[l:[]]]] map[c:[]]"},
		"map":                 {asGroup(t, twos, deprecated.Map, "any"), "map[c:[map[key:1 value:x] map[key:2 value:y]]] map[c:[]]"},
		"old map":             {asGroup(t, twos, deprecated.MapKeyValue, "map"), "map[c:[map[key:1 value:x] map[key:2 value:y]]] map[c:[]]"},
		"keys":                {asGroup(t, ones, deprecated.Map, "any"), "map[c:[1 2]] map[c:[]]"},
	} {
		t.Run(name, func(t *testing.T) {
			recs, err := readUntilError(t, save(t, t.TempDir(), "a", c.content))
			must(t, err)
			same(t, strings.Join([]string{fmt.Sprint(row(recs[0])), fmt.Sprint(row(recs[1]))}, " "), c.want)
		})
	}
}

// A group that is annotated as a list or a map, but is neither, is an error of Open.
func TestSource_badLists(t *testing.T) {
	type flat struct {
		C two `parquet:"c"`
	}
	type three struct {
		A, B, C int32
	}
	flats := encoded(t, []flat{{}})
	for name, c := range map[string]struct {
		content []byte
		err     string
	}{
		"list":             {asGroup(t, flats, deprecated.List, "a"), "a list must hold one repeated"},
		"map":              {asGroup(t, flats, deprecated.Map, "a"), "a map must hold one repeated group"},
		"map of a column":  {asGroup(t, encoded(t, outers([]int32{1})), deprecated.Map, "a"), "a map must hold one repeated group"},
		"map of three":     {asGroup(t, encoded(t, outers([]three{{}})), deprecated.Map, "a"), "have 3 columns, not 1 or 2"},
		"map of lists":     {asGroup(t, encoded(t, outers([]sub{{}})), deprecated.Map, "a"), "a map with a repeated key or value"},
		"text":             {asGroup(t, flats, deprecated.UTF8, "a"), "a group of the converted type 0 is not supported"},
		"variant":          {withFooter(t, flats, func(m *format.FileMetaData) { m.Schema[1].LogicalType.Value = &format.VariantType{} }), "a group of the type VARIANT"},
		"root of a list":   {withFooter(t, flats, func(m *format.FileMetaData) { m.Schema[0].ConvertedType = thrift.New(deprecated.List) }), "a list must hold"},
		"strange repeated": {withFooter(t, flats, func(m *format.FileMetaData) { m.Schema[1].RepetitionType = thrift.New(format.FieldRepetitionType(7)) }), "repetition type"},
	} {
		t.Run(name, func(t *testing.T) {
			path := save(t, t.TempDir(), "a", c.content)
			err := newSource(t, path, nil).Open(t.Context())
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got the error %v, want one with %q", err, c.err)
			}
		})
	}
}

// A map with the same key twice is an error: a map[string]any would lose one value.
func TestSource_keyTwice(t *testing.T) {
	type pair struct {
		Key   string `parquet:"key"`
		Value int32  `parquet:"value"`
	}
	content := encoded(t, outers([]pair{{"x", 1}, {"y", 2}}, []pair{{"x", 1}, {"x", 2}}))
	recs, err := readUntilError(t, save(t, t.TempDir(), "a", asGroup(t, content, deprecated.Map, "map")))
	same(t, len(recs), 1)
	same(t, row(recs[0]), "map[c:map[x:1 y:2]]")
	if err == nil || !strings.Contains(err.Error(), `row 2: column "c": the key "x" occurs twice`) {
		t.Fatalf("got the error %v", err)
	}
}

// Numbers of rows that do not add up are found, whichever of them is wrong.
func TestSource_wrongCounts(t *testing.T) {
	content := encoded(t, wides(200), pq.MaxRowsPerRowGroup(100), pq.PageBufferSize(200))
	for name, change := range map[string]func(*format.FileMetaData){
		"rows of the file":      func(m *format.FileMetaData) { m.NumRows++ },
		"rows of a group, less": func(m *format.FileMetaData) { m.NumRows--; m.RowGroups[0].NumRows-- },
		"rows of a group, more": func(m *format.FileMetaData) { m.NumRows++; m.RowGroups[1].NumRows++ },
		"values, less":          func(m *format.FileMetaData) { m.RowGroups[1].Columns[1].MetaData.NumValues-- },
		"values, more":          func(m *format.FileMetaData) { m.RowGroups[1].Columns[1].MetaData.NumValues++ },
		"list, less":            func(m *format.FileMetaData) { m.RowGroups[1].Columns[3].MetaData.NumValues-- },
		"list, more":            func(m *format.FileMetaData) { m.RowGroups[1].Columns[3].MetaData.NumValues++ },
		"name of a column":      func(m *format.FileMetaData) { m.Schema[1].Name = "ie" },
		"a group is missing":    func(m *format.FileMetaData) { m.RowGroups = m.RowGroups[:1] },
		"a column is missing":   func(m *format.FileMetaData) { m.RowGroups[1].Columns = m.RowGroups[1].Columns[1:] },
		"offset":                func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.DataPageOffset = 1 << 40 },
		"size":                  func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.TotalCompressedSize = 1 << 40 },
		"size, less":            func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.TotalCompressedSize -= 5 },
	} {
		t.Run(name, func(t *testing.T) {
			path := save(t, t.TempDir(), "a", withFooter(t, content, change))
			if recs, err := readUntilError(t, path); err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %d rows and the error %v", len(recs), err)
			}
		})
	}
}
