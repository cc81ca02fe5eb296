package parquet_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"time"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
)

// leafShape is a type of a column, with random values.
type leafShape struct {
	node          pq.Node
	canDictionary bool
	make          func(rng *rand.Rand) cell
}

// few returns an index that is often the same, so that dictionaries are small.
func few(rng *rand.Rand) int64 { return rng.Int64N(20) - 10 }

func letters(rng *rand.Rand) string { return "äbc\x00\"def"[:rng.IntN(8)] }

// leafShapes are all types that the source knows.
var leafShapes = []leafShape{
	{pq.Leaf(pq.BooleanType), false, func(rng *rand.Rand) cell {
		v := rng.IntN(2) == 0
		return cell{pq.BooleanValue(v), v}
	}},
	int32Shape(pq.Int(8), func(n int32) (int32, any) { return int32(int8(n)), int8(n) }),
	int32Shape(pq.Int(16), func(n int32) (int32, any) { return int32(int16(n)), int16(n) }),
	int32Shape(pq.Int(32), func(n int32) (int32, any) { return n, n }),
	int32Shape(pq.Leaf(pq.Int32Type), func(n int32) (int32, any) { return n, n }),
	int32Shape(pq.Uint(8), func(n int32) (int32, any) { return int32(uint8(n)), uint8(n) }),
	int32Shape(pq.Uint(16), func(n int32) (int32, any) { return int32(uint16(n)), uint16(n) }),
	int32Shape(pq.Uint(32), func(n int32) (int32, any) { return n, uint32(n) }),
	int32Shape(pq.Date(), func(n int32) (int32, any) {
		n %= 1e6
		return n, time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(n))
	}),
	int32Shape(pq.Time(pq.Millisecond), func(n int32) (int32, any) { return n, time.Duration(n) * time.Millisecond }),
	int32Shape(pq.Decimal(3, 9, pq.Int32Type), func(n int32) (int32, any) {
		return n, json.Number(new(big.Rat).SetFrac64(int64(n), 1000).FloatString(3))
	}),
	int64Shape(pq.Int(64), func(n int64) (int64, any) { return n, n }),
	int64Shape(pq.Leaf(pq.Int64Type), func(n int64) (int64, any) { return n, n }),
	int64Shape(pq.Uint(64), func(n int64) (int64, any) { return n, uint64(n) }),
	int64Shape(pq.Time(pq.Microsecond), func(n int64) (int64, any) { n %= 1e12; return n, time.Duration(n) * time.Microsecond }),
	int64Shape(pq.Time(pq.Nanosecond), func(n int64) (int64, any) { return n, time.Duration(n) }),
	int64Shape(pq.Timestamp(pq.Millisecond), func(n int64) (int64, any) {
		n %= 1e14
		return n, time.Date(1970, 1, 1, 0, 0, int(n/1e3), int(n%1e3)*1e6, time.UTC)
	}),
	int64Shape(pq.Timestamp(pq.Microsecond), func(n int64) (int64, any) {
		n %= 1e17
		return n, time.Date(1970, 1, 1, 0, 0, int(n/1e6), int(n%1e6)*1e3, time.UTC)
	}),
	int64Shape(pq.Timestamp(pq.Nanosecond), func(n int64) (int64, any) {
		return n, time.Date(1970, 1, 1, 0, 0, int(n/1e9), int(n%1e9), time.UTC)
	}),
	int64Shape(pq.Decimal(0, 18, pq.Int64Type), func(n int64) (int64, any) { return n, json.Number(fmt.Sprint(n)) }),
	{pq.Leaf(pq.FloatType), true, func(rng *rand.Rand) cell {
		v := float32(few(rng)) / 3
		return cell{pq.FloatValue(v), v}
	}},
	{pq.Leaf(pq.DoubleType), true, func(rng *rand.Rand) cell {
		v := []float64{math.Inf(1), 0.1, -1e300, math.Copysign(0, -1)}[rng.IntN(4)]
		return cell{pq.DoubleValue(v), v}
	}},
	{pq.Leaf(pq.Int96Type), false, func(rng *rand.Rand) cell {
		day, nanos := rng.Int64N(20000)-10000, rng.Int64N(24*int64(time.Hour))
		v := deprecated.Int96{uint32(nanos), uint32(nanos >> 32), uint32(day + 2440588)}
		return cell{pq.Int96Value(v), time.Date(1970, 1, 1+int(day), 0, 0, 0, int(nanos), time.UTC)}
	}},
	textShape(pq.String()), textShape(pq.Enum()), textShape(pq.JSON()),
	{pq.Leaf(pq.ByteArrayType), true, func(rng *rand.Rand) cell {
		text := letters(rng)
		return cell{pq.ByteArrayValue([]byte(text)), []byte(text)}
	}},
	{pq.Leaf(pq.FixedLenByteArrayType(5)), true, func(rng *rand.Rand) cell {
		b := []byte("fixed")
		b[rng.IntN(5)] = 0xff
		return cell{pq.FixedLenByteArrayValue(b), b}
	}},
	{pq.UUID(), true, func(rng *rand.Rand) cell {
		b := make([]byte, 16)
		binary.BigEndian.PutUint64(b, rng.Uint64())
		binary.BigEndian.PutUint64(b[8:], rng.Uint64())
		return cell{pq.FixedLenByteArrayValue(b), fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])}
	}},
	{pq.Decimal(2, 30, pq.FixedLenByteArrayType(13)), true, func(rng *rand.Rand) cell {
		n := new(big.Int).Mul(big.NewInt(rng.Int64()-rng.Int64()), big.NewInt(rng.Int64N(1e9)))
		return cell{pq.FixedLenByteArrayValue(twosComplement(n, 13)), decimalOf(n, 2)}
	}},
	{pq.Decimal(20, 20, pq.ByteArrayType), true, func(rng *rand.Rand) cell {
		n := big.NewInt(few(rng) * rng.Int64N(1e17))
		return cell{pq.ByteArrayValue(twosComplement(n, 9+rng.IntN(4))), decimalOf(n, 20)}
	}},
}

func int32Shape(node pq.Node, f func(int32) (int32, any)) leafShape {
	return leafShape{node, true, func(rng *rand.Rand) cell {
		n := int32(few(rng))
		if rng.IntN(3) == 0 {
			n = int32(rng.Uint32())
		}
		written, want := f(n)
		return cell{pq.Int32Value(written), want}
	}}
}

func int64Shape(node pq.Node, f func(int64) (int64, any)) leafShape {
	return leafShape{node, true, func(rng *rand.Rand) cell {
		n := few(rng)
		if rng.IntN(3) == 0 {
			n = int64(rng.Uint64())
		}
		written, want := f(n)
		return cell{pq.Int64Value(written), want}
	}}
}

func textShape(node pq.Node) leafShape {
	return leafShape{node, true, func(rng *rand.Rand) cell {
		text := letters(rng)
		return cell{pq.ByteArrayValue([]byte(text)), text}
	}}
}

// twosComplement returns a number in two's complement, with a size in bytes.
func twosComplement(n *big.Int, size int) []byte {
	m := new(big.Int).Set(n)
	if n.Sign() < 0 {
		m.Add(m, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return m.FillBytes(make([]byte, size))
}

func decimalOf(n *big.Int, scale int) json.Number {
	den := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return json.Number(new(big.Rat).SetFrac(n, den).FloatString(scale))
}
