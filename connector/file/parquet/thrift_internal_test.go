package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// A footer is decoded as by the library, whatever follows it. A truncated footer is an
// [io.ErrUnexpectedEOF].
func TestDecode(t *testing.T) {
	type row struct {
		A []string         `parquet:"a,list"`
		B map[string]int32 `parquet:"b"`
		C *bool            `parquet:"c"`
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, parquet.KeyValueMetadata("key", "value"))
	if _, err := w.Write(make([]row, 3)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	content := b.Bytes()[:b.Len()-trailer]
	size := int(binary.LittleEndian.Uint32(b.Bytes()[b.Len()-trailer:]))
	footer := content[len(content)-size:]
	var meta format.FileMetaData
	n, err := decode(append(bytes.Clone(footer), "behind"...), &meta)
	if err != nil || n != size || !reflect.DeepEqual(&meta, f.Metadata()) {
		t.Fatalf("got %d bytes and the error %v, want %d bytes", n, err, size)
	}
	for i := range footer {
		if _, err := decode(footer[:i], &meta); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: the error is %v", i, err)
		}
	}
}

// Nothing is allocated for elements that are not there, and the nesting is limited.
func TestDecode_bounds(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<31-1)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, b := range map[string][]byte{
		"list":            join([]byte{0x29, 0xfc}, huge),
		"unknown list":    join([]byte{0xf9, 0xf2}, huge),
		"unknown map":     join([]byte{0xfb}, huge, []byte{0xcc}),
		"text":            join([]byte{0x68}, huge),
		"nested structs":  bytes.Repeat([]byte{0xfc}, 1<<20),
		"nested lists":    join([]byte{0xf9}, bytes.Repeat([]byte{0x19}, 1<<20)),
		"nested maps":     join([]byte{0xfb}, bytes.Repeat([]byte{1, 0x3b, 0}, 1<<20)),
		"unknown type":    {0xff, 0},
		"large number":    bytes.Repeat([]byte{0xff}, 20),
		"no end":          {0x15, 2},
		"list of unknown": {0xf9, 0x1f, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var meta format.FileMetaData
			if _, err := decode(b, &meta); err == nil || meta.Schema != nil {
				t.Fatalf("the error is %v", err)
			}
		})
	}
}
