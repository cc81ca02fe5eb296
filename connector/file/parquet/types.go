package parquet

import (
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// converter returns the Go value of a value that is not null, and its number of bytes.
type converter func(parquet.Value) (v any, size int, err error)

// logical is the logical type of a column, in the current form or in the deprecated one.
type logical struct {
	kind      logicalKind
	bits      int
	isSigned  bool
	unit      int64 // in nanoseconds
	scale     int
	precision int
	name      string // for errors
}

type logicalKind int

const (
	plain logicalKind = iota
	text
	integer
	decimal
	date
	timeOfDay
	timestamp
	uuid
	alwaysNull
	unknown
)

// converterOf returns the converter of a column, and whether its values are strings. It
// returns an error if the type is not supported.
func converterOf(e *format.SchemaElement) (c converter, isText bool, err error) {
	l := logicalOf(e)
	length := 0
	if e.TypeLength.Valid {
		length = int(e.TypeLength.V)
	}
	if e.Type.V == format.FixedLenByteArray && (length < 1 || length > 1<<24) {
		return nil, false, fmt.Errorf("a length of %d bytes is not supported", length)
	}
	switch t := e.Type.V; l.kind {
	case plain:
		c = plainConverters[t]
	case text:
		if t == format.ByteArray {
			c = convertText
		}
	case integer:
		c = integerConverters[integerType{t, l.bits, l.isSigned}]
	case decimal:
		if c, err = decimalConverter(t, l); err != nil {
			return nil, false, err
		}
	case date:
		if t == format.Int32 {
			c = convertDate
		}
	case timeOfDay:
		if t == format.Int32 && l.unit == 1e6 || t == format.Int64 && l.unit < 1e6 && l.unit > 0 {
			c = timeConverter(l.unit)
		}
	case timestamp:
		if t == format.Int64 && l.unit > 0 {
			c = timestampConverter(l.unit)
		}
	case uuid:
		if t == format.FixedLenByteArray && length == 16 {
			c = convertUUID
		}
	case alwaysNull:
		c = refuseValue
	}
	if c == nil {
		name := physicalNames[e.Type.V]
		if name == "" {
			name = fmt.Sprintf("%d", e.Type.V)
		}
		if l.kind != plain {
			name = l.name + " as " + name
		}
		return nil, false, fmt.Errorf("the type %s is not supported", name)
	}
	return c, l.kind == text || l.kind == uuid, nil
}

var physicalNames = map[format.Type]string{
	format.Boolean: "BOOLEAN", format.Int32: "INT32", format.Int64: "INT64", format.Int96: "INT96",
	format.Float: "FLOAT", format.Double: "DOUBLE", format.ByteArray: "BYTE_ARRAY",
	format.FixedLenByteArray: "FIXED_LEN_BYTE_ARRAY",
}

// bitsOf returns the least number of bits that a value of a column takes in the encoding PLAIN.
func bitsOf(e *format.SchemaElement) int64 {
	switch e.Type.V {
	case format.Boolean:
		return 1
	case format.Int32, format.Float, format.ByteArray: // a byte array has at least its length
		return 32
	case format.Int64, format.Double:
		return 64
	case format.Int96:
		return 96
	default:
		return 8 * int64(e.TypeLength.V)
	}
}

// logicalOf returns the logical type of a column.
func logicalOf(e *format.SchemaElement) logical {
	switch t := e.LogicalType.Value.(type) {
	case nil:
		return convertedOf(e)
	case *format.StringType, *format.EnumType, *format.JsonType:
		return logical{kind: text, name: t.String()}
	case *format.IntType:
		return logical{kind: integer, bits: int(t.BitWidth), isSigned: t.IsSigned, name: t.String()}
	case *format.DecimalType:
		return logical{kind: decimal, scale: int(t.Scale), precision: int(t.Precision), name: t.String()}
	case *format.DateType:
		return logical{kind: date, name: t.String()}
	case *format.TimeType:
		return logical{kind: timeOfDay, unit: unitOf(t.Unit), name: t.String()}
	case *format.TimestampType:
		return logical{kind: timestamp, unit: unitOf(t.Unit), name: t.String()}
	case *format.UUIDType:
		return logical{kind: uuid, name: t.String()}
	case *format.NullType:
		return logical{kind: alwaysNull, name: t.String()}
	default:
		return logical{kind: unknown, name: t.String()}
	}
}

// unitOf returns the number of nanoseconds in a unit of time, or 0 if the unit is unknown.
func unitOf(u format.TimeUnit) int64 {
	switch u.Value.(type) {
	case *format.MilliSeconds:
		return 1e6
	case *format.MicroSeconds:
		return 1e3
	case *format.NanoSeconds:
		return 1
	}
	return 0
}

var convertedTypes = map[deprecated.ConvertedType]logical{
	deprecated.UTF8:            {kind: text, name: "UTF8"},
	deprecated.Enum:            {kind: text, name: "ENUM"},
	deprecated.Json:            {kind: text, name: "JSON"},
	deprecated.Decimal:         {kind: decimal, name: "DECIMAL"},
	deprecated.Date:            {kind: date, name: "DATE"},
	deprecated.TimeMillis:      {kind: timeOfDay, unit: 1e6, name: "TIME_MILLIS"},
	deprecated.TimeMicros:      {kind: timeOfDay, unit: 1e3, name: "TIME_MICROS"},
	deprecated.TimestampMillis: {kind: timestamp, unit: 1e6, name: "TIMESTAMP_MILLIS"},
	deprecated.TimestampMicros: {kind: timestamp, unit: 1e3, name: "TIMESTAMP_MICROS"},
	deprecated.Uint8:           {kind: integer, bits: 8, name: "UINT_8"},
	deprecated.Uint16:          {kind: integer, bits: 16, name: "UINT_16"},
	deprecated.Uint32:          {kind: integer, bits: 32, name: "UINT_32"},
	deprecated.Uint64:          {kind: integer, bits: 64, name: "UINT_64"},
	deprecated.Int8:            {kind: integer, bits: 8, isSigned: true, name: "INT_8"},
	deprecated.Int16:           {kind: integer, bits: 16, isSigned: true, name: "INT_16"},
	deprecated.Int32:           {kind: integer, bits: 32, isSigned: true, name: "INT_32"},
	deprecated.Int64:           {kind: integer, bits: 64, isSigned: true, name: "INT_64"},
	deprecated.Bson:            {kind: unknown, name: "BSON"},
	deprecated.Interval:        {kind: unknown, name: "INTERVAL"},
}

// convertedOf returns the logical type of a column that only has the deprecated form.
func convertedOf(e *format.SchemaElement) logical {
	if !e.ConvertedType.Valid {
		return logical{kind: plain}
	}
	l, ok := convertedTypes[e.ConvertedType.V]
	if !ok {
		return logical{kind: unknown, name: fmt.Sprintf("converted type %d", e.ConvertedType.V)}
	}
	if l.kind == decimal {
		l.scale, l.precision = int(e.Scale.V), int(e.Precision.V)
	}
	return l
}
