package parquet

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The checker passes on all bytes before a page that does not fit, and then returns an error.
func TestPageChecker(t *testing.T) {
	page := func(change func(*format.PageHeader)) []byte {
		h := format.PageHeader{Type: format.DataPage, UncompressedPageSize: 10, CompressedPageSize: 10}
		h.DataPageHeader = thrift.New(format.DataPageHeader{NumValues: 2})
		change(&h)
		var protocol thrift.CompactProtocol
		b, err := thrift.Marshal(&protocol, &h)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, make([]byte, 10)...)
	}
	nothing := func(*format.PageHeader) {}
	long := bytes.Repeat([]byte{1}, 3*usualHeader)
	v2 := func(change func(*format.DataPageHeaderV2)) func(*format.PageHeader) {
		return func(h *format.PageHeader) {
			h.Type, h.DataPageHeader.Valid = format.DataPageV2, false
			h.DataPageHeaderV2 = thrift.New(format.DataPageHeaderV2{NumValues: 2})
			change(&h.DataPageHeaderV2.V)
		}
	}
	dictionaryPage := func(n int32) func(*format.PageHeader) {
		return func(h *format.PageHeader) {
			h.Type, h.DataPageHeader.Valid = format.DictionaryPage, false
			h.DictionaryPageHeader = thrift.New(format.DictionaryPageHeader{NumValues: n})
		}
	}
	for name, c := range map[string]struct {
		change func(*format.PageHeader)
		isGood bool
	}{
		"good":                 {nothing, true},
		"good, long":           {func(h *format.PageHeader) { h.DataPageHeader.V.Statistics.MinValue = long }, true},
		"good, of 16 MiB":      {func(h *format.PageHeader) { h.UncompressedPageSize = 16 << 20 }, true},
		"good, dictionary":     {dictionaryPage(2), true},
		"larger than the rest": {func(h *format.PageHeader) { h.CompressedPageSize = 100 }, false},
		"smaller than nothing": {func(h *format.PageHeader) { h.CompressedPageSize = -1 }, false},
		"huge":                 {func(h *format.PageHeader) { h.UncompressedPageSize = 1 << 30 }, false},
		"less than nothing":    {func(h *format.PageHeader) { h.UncompressedPageSize = -1 }, false},
		"too many values":      {func(h *format.PageHeader) { h.DataPageHeader.V.NumValues = 1000 }, false},
		"too few values":       {func(h *format.PageHeader) { h.DataPageHeader.V.NumValues = -1 }, false},
		"not enough bytes":     {func(h *format.PageHeader) { h.DataPageHeader.V.NumValues = 3 }, false},
		"v2, not enough bytes": {v2(func(h *format.DataPageHeaderV2) { h.NumValues = 3 }), false},
		"v2, with levels":      {v2(func(h *format.DataPageHeaderV2) { h.DefinitionLevelsByteLength = 2 }), true},
		"v2, more levels":      {v2(func(h *format.DataPageHeaderV2) { h.DefinitionLevelsByteLength = 3 }), false},
		"v2, with nulls":       {v2(func(h *format.DataPageHeaderV2) { h.NumValues, h.NumNulls = 3, 1 }), true},
		"other encoding": {func(h *format.PageHeader) {
			h.DataPageHeader.V.NumValues, h.DataPageHeader.V.Encoding = 9, format.RLEDictionary
		}, true},
		"v2, too many values":  {v2(func(h *format.DataPageHeaderV2) { h.NumValues = 1000 }), false},
		"v2, too many nulls":   {v2(func(h *format.DataPageHeaderV2) { h.NumNulls = 3 }), false},
		"v2, too many levels":  {v2(func(h *format.DataPageHeaderV2) { h.DefinitionLevelsByteLength = 1000 }), false},
		"v2, negative levels":  {v2(func(h *format.DataPageHeaderV2) { h.RepetitionLevelsByteLength = -1 }), false},
		"dictionary, too many": {dictionaryPage(3), false},
		"dictionary, too few":  {dictionaryPage(-1), false},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := page(nothing), page(c.change)
			content := bytes.Join([][]byte{[]byte(magic), first, second, page(nothing)}, nil)
			n := &node{physical: format.Int32, bits: 32}
			meta := &format.ColumnMetaData{DataPageOffset: 4, TotalCompressedSize: int64(len(content) - 4), NumValues: 10}
			checker, err := newPageChecker(bytes.NewReader(content), int64(len(content)), n, meta, func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.NewSectionReader(checker, 4, int64(len(content)-4)))
			switch {
			case c.isGood && (err != nil || len(got) != len(content)-4):
				t.Errorf("%d bytes were read, and the error %v", len(got), err)
			case !c.isGood && (err == nil || len(got) != len(first)):
				t.Errorf("%d bytes were read, want %d, and the error %v", len(got), len(first), err)
			}
		})
	}
}

// The search for a row ends with its context, also within a row group.
func TestReader_ended(t *testing.T) {
	type single struct{ V int64 }
	var b bytes.Buffer
	w := parquet.NewGenericWriter[single](&b, parquet.PageBufferSize(1000))
	if _, err := w.Write(make([]single, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	calls, last, errEnded := 0, 1<<30, errors.New("ended")
	ended := func() error {
		if calls++; calls > last {
			return errEnded
		}
		return nil
	}
	read := func(row int64) error {
		r, err := openReader(path, make([]byte, 1<<16), ended)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.close() }()
		meta := &r.parquet.Metadata().RowGroups[0].Columns[0]
		meta.OffsetIndexOffset, meta.OffsetIndexLength = 0, 0 // so that it must search
		r.seek(row)
		return r.read(func(map[string]any, int) bool { return false })
	}
	if err := read(99_000); err != nil {
		t.Fatal(err)
	}
	last, calls = calls/2, 0
	if err := read(99_000); !errors.Is(err, errEnded) {
		t.Errorf("after %d of %d calls the error is %v", calls, 2*last, err)
	}
}

// A panic becomes an error.
func TestGuard(t *testing.T) {
	err := guard(func() error { panic("index out of bounds") })
	if err == nil || !strings.Contains(err.Error(), "damaged, and the library panicked: index out of bounds") {
		t.Errorf("got the error %v", err)
	}
	if err := guard(func() error { return io.EOF }); err != io.EOF {
		t.Errorf("got the error %v", err)
	}
}
