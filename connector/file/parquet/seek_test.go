package parquet_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/conduitio/funnel/connector/file/parquet"
)

// A source that resumes goes to the page of the row, by the index of the pages. The pages
// before it are not read: they may be damaged.
func TestSource_seeks(t *testing.T) {
	sound := encoded(t, items(1, 20_000), pq.PageBufferSize(4000), pq.MaxRowsPerRowGroup(10_000))
	path := save(t, t.TempDir(), "a", sound)
	all := mustReadAll(t, opened(t, path, nil, parquet.WithBatch(100_000, 1<<30)))
	f, err := pq.OpenFile(bytes.NewReader(sound), int64(len(sound)))
	must(t, err)
	damaged := bytes.Clone(sound)
	first := int64(20_000)
	for group, g := range f.RowGroups() {
		for _, chunk := range g.ColumnChunks() {
			index, err := chunk.OffsetIndex()
			must(t, err)
			last := index.NumPages() - 1
			for p := range last {
				if group < 1 || p < last {
					damage(damaged, int(index.Offset(p))+60, int(index.CompressedPageSize(p))-60)
				}
			}
			if group == 1 {
				first = min(first, 20_000-10_000+index.FirstRowIndex(last))
			}
		}
	}
	must(t, writeAgain(path, damaged))
	if _, err := readUntilError(t, path); err == nil {
		t.Fatal("nothing was damaged")
	}
	// The last pages of the columns begin at different rows.
	from := all[19_900].Position
	same(t, ids(mustReadAll(t, opened(t, path, from))), numbers(19_902, 20_000))
	if first > 19_900 {
		t.Fatalf("the last page begins at row %d", first)
	}
}

// damage changes the first byte from an offset on that is not part of the file's identity.
func damage(content []byte, from, size int) {
	body := len(content) - footerSize(content)
	step := (body - 1024) / 15
	for i := from; i < from+size; i++ {
		if i%step >= 1024 {
			content[i] ^= 1
			return
		}
	}
}

// footerSize returns how many bytes the footer of a file has, with the length and the magic.
func footerSize(content []byte) int {
	return 8 + int(binary.LittleEndian.Uint32(content[len(content)-8:]))
}

// Without an index the source reads the row group from its beginning, up to the row.
func TestSource_seeksWithoutIndex(t *testing.T) {
	for version := 1; version <= 2; version++ {
		content := encoded(t, wides(400), pq.PageBufferSize(300), pq.MaxRowsPerRowGroup(150), pq.DataPageVersion(version))
		content = withFooter(t, content, func(m *format.FileMetaData) {
			for _, g := range m.RowGroups {
				for i := range g.Columns {
					g.Columns[i].OffsetIndexOffset, g.Columns[i].OffsetIndexLength = 0, 0
				}
			}
		})
		path := save(t, t.TempDir(), "a", content)
		all := mustReadAll(t, opened(t, path, nil))
		rng := rand.New(rand.NewPCG(1, 1))
		for range 20 {
			i := rng.IntN(len(all))
			rest := mustReadAll(t, opened(t, path, all[i].Position))
			same(t, len(rest), len(all)-i-1)
			for j := range rest {
				same(t, row(rest[j]), row(all[i+1+j]))
			}
		}
	}
}

// An index that does not fit the pages does no harm: it is not used.
func TestSource_wrongIndex(t *testing.T) {
	for version := 1; version <= 2; version++ {
		content := encoded(t, items(1, 600), pq.PageBufferSize(400), pq.DataPageVersion(version))
		path := save(t, t.TempDir(), "a", content)
		all := mustReadAll(t, opened(t, path, nil))
		f, err := pq.OpenFile(bytes.NewReader(content), int64(len(content)))
		must(t, err)
		chunk := f.Metadata().RowGroups[0].Columns[0]
		for i := range int64(chunk.OffsetIndexLength) {
			damaged := bytes.Clone(content)
			damaged[chunk.OffsetIndexOffset+i] ^= 2
			must(t, writeAgain(path, damaged))
			// It is another file now. To read it from its first row takes no index.
			s := opened(t, path, nil, parquet.WithBatch(400, 1<<30))
			recs, err := s.Read(t.Context())
			must(t, err)
			same(t, len(recs), 400)
			rest := mustReadAll(t, opened(t, path, recs[399].Position))
			same(t, len(rest), 200)
			for j, rec := range rest {
				same(t, row(rec), row(all[400+j]))
			}
		}
	}
}

// Some writers count values instead of rows in the index of a repeated column. That shifts
// nothing to other rows.
func TestSource_indexCountsValues(t *testing.T) {
	for version := 1; version <= 2; version++ {
		content := encoded(t, wides(400), pq.PageBufferSize(300), pq.DataPageVersion(version))
		f, err := pq.OpenFile(bytes.NewReader(content), int64(len(content)))
		must(t, err)
		number := slices.IndexFunc(f.Metadata().RowGroups[0].Columns, func(c format.ColumnChunk) bool {
			return c.MetaData.PathInSchema[0] == "tags"
		})
		chunk := f.Metadata().RowGroups[0].Columns[number]
		var protocol thrift.CompactProtocol
		var index format.OffsetIndex
		must(t, thrift.Unmarshal(&protocol, content[chunk.OffsetIndexOffset:][:chunk.OffsetIndexLength], &index))
		values := int64(0)
		for i := range index.PageLocations {
			l := &index.PageLocations[i]
			l.FirstRowIndex = values
			var h format.PageHeader
			must(t, thrift.NewDecoder(protocol.NewReaderFromBytes(content[l.Offset:])).Decode(&h))
			values += int64(h.DataPageHeader.V.NumValues + h.DataPageHeaderV2.V.NumValues)
		}
		b, err := thrift.Marshal(&protocol, &index)
		must(t, err)
		body := len(content) - footerSize(content)
		content = withFooter(t, slices.Insert(content, body, b...), func(m *format.FileMetaData) {
			c := &m.RowGroups[0].Columns[number]
			c.OffsetIndexOffset, c.OffsetIndexLength = int64(body), int32(len(b))
		})
		path := save(t, t.TempDir(), "a", content)
		age(t, path, time.Hour) // a young file has other positions than an old one
		all := mustReadAll(t, opened(t, path, nil))
		for i := 0; i < len(all); i += 9 {
			rest := mustReadAll(t, opened(t, path, all[i].Position))
			same(t, rest, all[i+1:])
		}
	}
}

// Memory depends on the size of pages, and not on that of row groups or files.
func TestSource_memory(t *testing.T) {
	type blob struct {
		Data []byte `parquet:"data"`
	}
	rng := rand.NewChaCha8([32]byte{})
	path := save(t, t.TempDir(), "a", nil)
	func() {
		rows := make([]blob, 3000)
		for i := range rows {
			rows[i].Data = make([]byte, 10_000)
			_, _ = rng.Read(rows[i].Data)
		}
		must(t, writeAgain(path, encoded(t, rows, pq.PageBufferSize(100_000))))
	}()
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	s := opened(t, path, nil, parquet.WithBatch(10, 1<<20))
	for range 290 {
		recs, err := s.Read(t.Context())
		must(t, err)
		same(t, len(recs), 10)
	}
	if after := live(); after > before+4<<20 {
		t.Fatalf("%d bytes are held, in a file of 30 MB", after-before)
	}
}
