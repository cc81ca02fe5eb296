package parquet

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// wordSize is the size that a number, date or time counts as.
const wordSize = 8

var plainConverters = map[format.Type]converter{
	format.Boolean: func(v parquet.Value) (any, int, error) { return v.Boolean(), 1, nil },
	format.Int32:   func(v parquet.Value) (any, int, error) { return v.Int32(), wordSize, nil },
	format.Int64:   func(v parquet.Value) (any, int, error) { return v.Int64(), wordSize, nil },
	format.Int96:   convertInt96,
	format.Float:   func(v parquet.Value) (any, int, error) { return v.Float(), wordSize, nil },
	format.Double:  func(v parquet.Value) (any, int, error) { return v.Double(), wordSize, nil },

	format.ByteArray:         convertBytes,
	format.FixedLenByteArray: convertBytes,
}

type integerType struct {
	physical format.Type
	bits     int
	isSigned bool
}

var integerConverters = map[integerType]converter{
	{format.Int32, 8, true}: func(v parquet.Value) (any, int, error) {
		n := v.Int32()
		return int8(n), wordSize, checkRange(int64(n), math.MinInt8, math.MaxInt8)
	},
	{format.Int32, 16, true}: func(v parquet.Value) (any, int, error) {
		n := v.Int32()
		return int16(n), wordSize, checkRange(int64(n), math.MinInt16, math.MaxInt16)
	},
	{format.Int32, 8, false}: func(v parquet.Value) (any, int, error) {
		n := v.Int32()
		return uint8(n), wordSize, checkRange(int64(n), 0, math.MaxUint8)
	},
	{format.Int32, 16, false}: func(v parquet.Value) (any, int, error) {
		n := v.Int32()
		return uint16(n), wordSize, checkRange(int64(n), 0, math.MaxUint16)
	},
	{format.Int32, 32, true}:  plainConverters[format.Int32],
	{format.Int64, 64, true}:  plainConverters[format.Int64],
	{format.Int32, 32, false}: func(v parquet.Value) (any, int, error) { return v.Uint32(), wordSize, nil },
	{format.Int64, 64, false}: func(v parquet.Value) (any, int, error) { return v.Uint64(), wordSize, nil },
}

func checkRange(n, lowest, highest int64) error {
	if n < lowest || n > highest {
		return fmt.Errorf("%d is not from %d to %d", n, lowest, highest)
	}
	return nil
}

func convertText(v parquet.Value) (any, int, error) {
	b := v.ByteArray()
	return string(b), len(b), nil
}

func convertBytes(v parquet.Value) (any, int, error) {
	b := v.ByteArray()
	return append(make([]byte, 0, len(b)), b...), len(b), nil
}

func convertUUID(v parquet.Value) (any, int, error) {
	b := v.ByteArray()
	if len(b) != 16 {
		return nil, 0, fmt.Errorf("a UUID of %d bytes", len(b))
	}
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	for i, from := range []int{4, 6, 8} {
		to := 8 + 5*i
		text[to] = '-'
		hex.Encode(text[to+1:to+5], b[from:from+2])
	}
	text[23] = '-'
	hex.Encode(text[24:], b[10:])
	return string(text[:]), len(text), nil
}

func refuseValue(parquet.Value) (any, int, error) {
	return nil, 0, errors.New("a value in a column that has only nulls")
}

const secondsPerDay = 24 * 60 * 60

func convertDate(v parquet.Value) (any, int, error) {
	return time.Unix(int64(v.Int32())*secondsPerDay, 0).UTC(), wordSize, nil
}

func timeConverter(unit int64) converter {
	if unit == 1e6 {
		return func(v parquet.Value) (any, int, error) {
			return time.Duration(v.Int32()) * time.Millisecond, wordSize, nil
		}
	}
	return func(v parquet.Value) (any, int, error) {
		n := v.Int64()
		if limit := math.MaxInt64 / unit; n > limit || n < -limit {
			return nil, 0, fmt.Errorf("the time %d is out of range", n)
		}
		return time.Duration(n * unit), wordSize, nil
	}
}

func timestampConverter(unit int64) converter {
	switch unit {
	case 1e6:
		return func(v parquet.Value) (any, int, error) { return time.UnixMilli(v.Int64()).UTC(), wordSize, nil }
	case 1e3:
		return func(v parquet.Value) (any, int, error) { return time.UnixMicro(v.Int64()).UTC(), wordSize, nil }
	default:
		return func(v parquet.Value) (any, int, error) { return time.Unix(0, v.Int64()).UTC(), wordSize, nil }
	}
}

// julianEpoch is the Julian day number of 1970-01-01.
const julianEpoch = 2440588

// convertInt96 converts a timestamp that consists of the nanoseconds of the day and the Julian
// day.
func convertInt96(v parquet.Value) (any, int, error) {
	n := v.Int96()
	nanos := int64(n[1])<<32 | int64(n[0])
	day := int64(int32(n[2])) - julianEpoch
	return time.Unix(day*secondsPerDay, nanos).UTC(), wordSize, nil
}

const (
	maxPrecision    = 1000 // digits of a decimal
	maxDecimalBytes = 1 << 10
)

// decimalConverter returns the converter of decimals, or nil if decimals cannot have the
// physical type.
func decimalConverter(t format.Type, l logical) (converter, error) {
	if l.scale < 0 || l.scale > l.precision || l.precision < 1 || l.precision > maxPrecision {
		return nil, fmt.Errorf("a decimal with precision %d and scale %d is not supported", l.precision, l.scale)
	}
	scale := l.scale
	switch t {
	case format.Int32:
		return func(v parquet.Value) (any, int, error) {
			return decimalText(strconv.FormatInt(int64(v.Int32()), 10), scale), wordSize, nil
		}, nil
	case format.Int64:
		return func(v parquet.Value) (any, int, error) {
			return decimalText(strconv.FormatInt(v.Int64(), 10), scale), wordSize, nil
		}, nil
	case format.ByteArray, format.FixedLenByteArray:
		return func(v parquet.Value) (any, int, error) {
			n, err := bigEndian(v.ByteArray())
			if err != nil {
				return nil, 0, err
			}
			text := decimalText(n.String(), scale)
			return text, len(text), nil
		}, nil
	}
	return nil, nil
}

// bigEndian returns the number that the bytes hold in two's complement.
func bigEndian(b []byte) (*big.Int, error) {
	if len(b) == 0 {
		return nil, errors.New("a decimal of 0 bytes")
	}
	isNegative := b[0] >= 0x80
	fill := byte(0)
	if isNegative {
		fill = 0xff
	}
	for len(b) > 0 && b[0] == fill {
		b = b[1:]
	}
	if len(b) > maxDecimalBytes {
		return nil, fmt.Errorf("a decimal of %d bytes, more than %d", len(b), maxDecimalBytes)
	}
	n := new(big.Int).SetBytes(b)
	if isNegative {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n, nil
}

// decimalText puts the decimal point into a whole number.
func decimalText(digits string, scale int) json.Number {
	if scale == 0 {
		return json.Number(digits)
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - scale
	return json.Number(sign + digits[:point] + "." + digits[point:])
}
