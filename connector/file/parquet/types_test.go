package parquet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// withFooter returns a file with a changed footer.
func withFooter(t testing.TB, content []byte, change func(*format.FileMetaData)) []byte {
	size := int(binary.LittleEndian.Uint32(content[len(content)-8:]))
	body := len(content) - 8 - size
	var protocol thrift.CompactProtocol
	var meta format.FileMetaData
	must(t, thrift.Unmarshal(&protocol, content[body:body+size], &meta))
	change(&meta)
	footer, err := thrift.Marshal(&protocol, &meta)
	must(t, err)
	out := append(bytes.Clone(content[:body]), footer...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(footer)))
	return append(out, "PAR1"...)
}

// column returns a file with a column "c" that holds the values, or nulls for nil.
func column[T any](t testing.TB, values ...T) []byte {
	type single struct {
		C T `parquet:"c"`
	}
	var rows []single
	for _, v := range values {
		rows = append(rows, single{v})
	}
	return encoded(t, rows)
}

// asType returns a file whose column has a different type from the one it was written with.
func asType(t testing.TB, content []byte, change func(*format.SchemaElement)) []byte {
	return withFooter(t, content, func(meta *format.FileMetaData) {
		e := &meta.Schema[1]
		e.LogicalType = format.LogicalType{}
		e.ConvertedType = thrift.Null[deprecated.ConvertedType]{}
		change(e)
	})
}

func converted(c deprecated.ConvertedType) func(*format.SchemaElement) {
	return func(e *format.SchemaElement) {
		e.ConvertedType = thrift.New(c)
		e.Scale, e.Precision = thrift.New[int32](2), thrift.New[int32](9)
	}
}

func logicalType(v format.LogicalTypeValue) func(*format.SchemaElement) {
	return func(e *format.SchemaElement) { e.LogicalType.Value = v }
}

// The deprecated forms of types are read as the current ones.
func TestSource_deprecatedTypes(t *testing.T) {
	noon := time.Date(1970, 1, 1, 12, 0, 0, 0, time.UTC)
	int32s, int64s, bytesOf := column[int32](t, -1, 43200000), column[int64](t, -1, 43200000), column(t, "a", "ÿ")
	for c, want := range map[deprecated.ConvertedType]struct {
		content []byte
		value   any
	}{
		deprecated.UTF8:            {bytesOf, "ÿ"},
		deprecated.Enum:            {bytesOf, "ÿ"},
		deprecated.Json:            {bytesOf, "ÿ"},
		deprecated.Date:            {column[int32](t, 0, 365), time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC)},
		deprecated.TimeMillis:      {int32s, 12 * time.Hour},
		deprecated.TimeMicros:      {int64s, 43200 * time.Millisecond},
		deprecated.TimestampMillis: {int64s, noon},
		deprecated.TimestampMicros: {column(t, 0, noon.UnixMicro()), noon},
		deprecated.Uint8:           {column[int32](t, 1, 200), uint8(200)},
		deprecated.Uint16:          {column[int32](t, 1, 60000), uint16(60000)},
		deprecated.Uint32:          {column[int32](t, 1, -1), uint32(math.MaxUint32)},
		deprecated.Uint64:          {column[int64](t, 1, -1), uint64(math.MaxUint64)},
		deprecated.Int8:            {column[int32](t, 1, -128), int8(-128)},
		deprecated.Int16:           {column[int32](t, 1, -300), int16(-300)},
		deprecated.Int32:           {int32s, int32(43200000)},
		deprecated.Int64:           {int64s, int64(43200000)},
	} {
		recs, err := readUntilError(t, save(t, t.TempDir(), "a", asType(t, want.content, converted(c))))
		must(t, err)
		if got := row(recs[1])["c"]; !reflect.DeepEqual(got, want.value) {
			t.Errorf("type %d: got %T %v, want %T %v", c, got, got, want.value, want.value)
		}
	}
	for _, content := range [][]byte{column[int32](t, -5), column[int64](t, -5), column(t, "\xff\xfb")} {
		recs, err := readUntilError(t, save(t, t.TempDir(), "a", asType(t, content, converted(deprecated.Decimal))))
		must(t, err)
		same(t, row(recs[0]), "map[c:-0.05]")
	}
}

// An unknown type is an error of Open that names the file, the column and the type, even if
// the file is not the first one.
func TestSource_unknownTypes(t *testing.T) {
	fixed := column[[2]byte](t, [2]byte{})
	integer, long, text := column[int32](t, 1), column[int64](t, 1), column(t, "a")
	millis := format.TimeUnit{Value: &format.MilliSeconds{}}
	for name, c := range map[string]struct {
		content []byte
		change  func(*format.SchemaElement)
		err     string
	}{
		"float16":           {fixed, logicalType(&format.Float16Type{}), "FLOAT16 as FIXED_LEN_BYTE_ARRAY"},
		"bson":              {text, logicalType(&format.BsonType{}), "BSON as BYTE_ARRAY"},
		"old bson":          {text, converted(deprecated.Bson), "BSON as BYTE_ARRAY"},
		"geometry":          {text, logicalType(&format.GeometryType{}), "GEOMETRY"},
		"interval":          {fixed, converted(deprecated.Interval), "INTERVAL as FIXED"},
		"from the future":   {text, converted(99), "converted type 99 as BYTE_ARRAY"},
		"number as text":    {integer, logicalType(&format.StringType{}), "STRING as INT32"},
		"short uuid":        {fixed, logicalType(&format.UUIDType{}), "UUID as FIXED"},
		"text as date":      {text, logicalType(&format.DateType{}), "DATE as BYTE_ARRAY"},
		"int of 24 bits":    {integer, logicalType(&format.IntType{BitWidth: 24}), "as INT32"},
		"int in a long":     {long, logicalType(&format.IntType{BitWidth: 8}), "as INT64"},
		"time in a long":    {long, logicalType(&format.TimeType{Unit: millis}), "as INT64"},
		"timestamp in 32":   {integer, logicalType(&format.TimestampType{Unit: millis}), "as INT32"},
		"timestamp no unit": {long, logicalType(&format.TimestampType{}), "as INT64"},
		"decimal, scale":    {long, logicalType(&format.DecimalType{Scale: 5, Precision: 4}), "precision 4 and scale 5"},
		"decimal, huge":     {text, logicalType(&format.DecimalType{Scale: 2e9, Precision: 2e9}), "precision 2000000000"},
		"decimal, negative": {long, logicalType(&format.DecimalType{Scale: -1, Precision: 4}), "scale -1"},
		"decimal, float":    {column[float64](t, 1), logicalType(&format.DecimalType{Precision: 4}), "as DOUBLE"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, "1", integer)
			path := save(t, dir, "2", asType(t, c.content, c.change))
			err := newSource(t, dir, nil).Open(t.Context())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("file %q: column \"c\": ", path)) || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got the error %v, want one with %q", err, c.err)
			}
		})
	}
}

// What the footer says about the storage of columns is checked, too.
func TestSource_unknownStorage(t *testing.T) {
	content := encoded(t, items(1, 10), pq.MaxRowsPerRowGroup(5))
	for name, c := range map[string]struct {
		change func(*format.FileMetaData)
		err    string
	}{
		"other file": {func(m *format.FileMetaData) { m.RowGroups[1].Columns[1].FilePath = "b.parquet" }, `column "name": it is in another file, "b.parquet"`},
		"lz4":        {func(m *format.FileMetaData) { m.RowGroups[1].Columns[1].MetaData.Codec = format.Lz4Raw }, "compression LZ4_RAW"},
		"mixed":      {func(m *format.FileMetaData) { m.RowGroups[1].Columns[1].MetaData.Codec = format.Gzip }, "compressed in different ways"},
		"twice":      {func(m *format.FileMetaData) { m.Schema[2].Name = "id" }, `column "id": another column of its group`},
		"no columns": {func(m *format.FileMetaData) {
			*m = format.FileMetaData{Schema: m.Schema[:1]}
			m.Schema[0].NumChildren.V = 0
		}, "without columns"},
	} {
		t.Run(name, func(t *testing.T) {
			path := save(t, t.TempDir(), "a", withFooter(t, content, c.change))
			err := newSource(t, path, nil).Open(t.Context())
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got the error %v, want one with %q", err, c.err)
			}
		})
	}
}

// A column of nulls has the logical type UNKNOWN.
func TestSource_nullColumn(t *testing.T) {
	content := asType(t, column[*int32](t, nil, nil), logicalType(&format.NullType{}))
	recs, err := readUntilError(t, save(t, t.TempDir(), "a", content))
	must(t, err)
	same(t, len(recs), 2)
	same(t, row(recs[1]), "map[c:<nil>]")
}

// A value that its type cannot hold is an error.
func TestSource_valueOutOfRange(t *testing.T) {
	for err, content := range map[string][]byte{
		"300 is not from 0 to 255": asType(t, column[int32](t, 3, 300), converted(deprecated.Uint8)),
		"-129 is not from -128":    asType(t, column[int32](t, 3, -129), converted(deprecated.Int8)),
		"out of range":             asType(t, column[int64](t, 3, math.MaxInt64), converted(deprecated.TimeMicros)),
		"a decimal of 0 bytes":     asType(t, column(t, "\x03", ""), converted(deprecated.Decimal)),
		"more than 1024":           asType(t, column(t, "\x03", strings.Repeat("x", 2000)), converted(deprecated.Decimal)),
	} {
		recs, got := readUntilError(t, save(t, t.TempDir(), "a", content))
		if len(recs) != 1 || got == nil || !strings.Contains(got.Error(), "row 2: column \"c\": ") || !strings.Contains(got.Error(), err) {
			t.Errorf("got %d rows and the error %v, want one with %q", len(recs), got, err)
		}
	}
}
