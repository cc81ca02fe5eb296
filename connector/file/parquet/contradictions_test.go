package parquet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// grouped returns a file whose footer puts its two columns into a group, although each has
// levels of its own.
func grouped(t testing.TB, content []byte, repetition format.FieldRepetitionType) []byte {
	return withFooter(t, content, func(m *format.FileMetaData) {
		group := format.SchemaElement{Name: "g", RepetitionType: thrift.New(repetition), NumChildren: thrift.New[int32](2)}
		columns := m.Schema[1:]
		for i := range columns {
			columns[i].RepetitionType = thrift.New(format.Required)
			path := &m.RowGroups[0].Columns[i].MetaData.PathInSchema
			*path = append([]string{"g"}, *path...)
		}
		m.Schema = append([]format.SchemaElement{m.Schema[0], group}, columns...)
		m.Schema[0].NumChildren = thrift.New[int32](1)
	})
}

// Columns of one group that contradict each other are an error at the first row where they do.
func TestSource_contradictoryLevels(t *testing.T) {
	type optional struct {
		A *int32 `parquet:"a"`
		B *int32 `parquet:"b"`
	}
	type repeated struct {
		A []int32 `parquet:"a"`
		B []int32 `parquet:"b"`
	}
	one, sound := int32(1), []int32{1, 2}
	for name, content := range map[string][]byte{
		"first is null":  grouped(t, encoded(t, []optional{{&one, &one}, {nil, nil}, {nil, &one}, {&one, &one}}), format.Optional),
		"second is null": grouped(t, encoded(t, []optional{{&one, &one}, {nil, nil}, {&one, nil}, {&one, &one}}), format.Optional),
		"first is empty": grouped(t, encoded(t, []repeated{{sound, sound}, {}, {nil, sound}, {sound, sound}}), format.Repeated),
		"first is short": grouped(t, encoded(t, []repeated{{sound, sound}, {}, {sound[:1], sound}, {sound, sound}}), format.Repeated),
		"first is long":  grouped(t, encoded(t, []repeated{{sound, sound}, {}, {sound, sound[:1]}, {sound, sound}}), format.Repeated),
	} {
		t.Run(name, func(t *testing.T) {
			recs, err := readUntilError(t, save(t, t.TempDir(), "a", content))
			if len(recs) < 2 || len(recs) > 3 || err == nil || !strings.Contains(err.Error(), "its levels contradict") {
				t.Fatalf("got %d rows and the error %v", len(recs), err)
			}
		})
	}
}

// A page that holds fewer values than its header says is an error: the rest would be whatever
// is in memory.
func TestSource_shortPage(t *testing.T) {
	const n = 100
	for version := 1; version <= 2; version++ {
		for name, content := range map[string][]byte{
			"int64": column(t, make([]int64, n)...), "bytes": column(t, make([][5]byte, n)...), "text": column(t, make([]string, n)...), "bool": column(t, make([]bool, n)...),
			"float": column(t, make([]float32, n)...), "int32": column(t, make([]int32, n)...), "double": column(t, make([]float64, n)...),
		} {
			t.Run(fmt.Sprintf("version_%d/%s", version, name), func(t *testing.T) {
				content := withoutChecksums(t, content)
				f, err := pq.OpenFile(bytes.NewReader(content), int64(len(content)))
				must(t, err)
				meta := f.Metadata().RowGroups[0].Columns[0].MetaData
				head := content[meta.DataPageOffset:][:50]
				few, many := binary.AppendVarint(nil, n), binary.AppendVarint(nil, n+20)
				if !bytes.Contains(head, few) {
					t.Fatal("the header does not hold the number of values")
				}
				copy(head, bytes.ReplaceAll(head, few, many))
				content = withFooter(t, content, func(m *format.FileMetaData) {
					m.NumRows += 20
					m.RowGroups[0].NumRows += 20
					m.RowGroups[0].Columns[0].MetaData.NumValues += 20
				})
				if recs, err := readUntilError(t, save(t, t.TempDir(), "a", content)); err == nil {
					t.Fatalf("got %d rows", len(recs))
				}
			})
		}
	}
}

// If a page says that it has fewer values than were written, and only the sum over all pages
// shows it, no row of the row group is delivered.
func TestSource_wrongSum(t *testing.T) {
	type flat struct {
		C string `parquet:"c,dict"`
	}
	type repeated struct {
		C []string `parquet:"c,dict"`
	}
	for name, content := range map[string][]byte{
		"flat":     encoded(t, make([]flat, 100), pq.DataPageVersion(1)),
		"repeated": encoded(t, make([]repeated, 100), pq.DataPageVersion(1)),
	} {
		for _, inFooter := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/footer_%t", name, inFooter), func(t *testing.T) {
				content := withoutChecksums(t, content)
				f, err := pq.OpenFile(bytes.NewReader(content), int64(len(content)))
				must(t, err)
				head := content[f.Metadata().RowGroups[0].Columns[0].MetaData.DataPageOffset:][:40]
				copy(head, bytes.ReplaceAll(head, binary.AppendVarint(nil, 100), binary.AppendVarint(nil, 96)))
				if inFooter {
					content = withFooter(t, content, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.NumValues -= 4 })
				}
				recs, err := readUntilError(t, save(t, t.TempDir(), "a", content))
				isCounted := err != nil && strings.Contains(err.Error(), "its pages have 96 values")
				if name == "flat" && (!isCounted || len(recs) > 0) || err == nil || !inFooter && !isCounted {
					t.Fatalf("got %d rows and the error %v", len(recs), err)
				}
			})
		}
	}
}
