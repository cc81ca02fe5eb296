package parquet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/conduitio/funnel/connector/file/parquet"
)

// readUntilError reads the rows that a file gives before it fails.
func readUntilError(t testing.TB, path string) ([]opencdc.Record, error) {
	s := newSource(t, path, nil)
	if err := s.Open(t.Context()); err != nil {
		return nil, err
	}
	recs, err := readAll(t, s)
	must(t, s.Teardown(t.Context()))
	return recs, err
}

// wide is a row with columns of several kinds.
type wide struct {
	ID    int64            `parquet:"id"`
	Name  string           `parquet:"name,dict"`
	Text  *string          `parquet:"text,optional"`
	Tags  []string         `parquet:"tags,list"`
	Score map[string]int32 `parquet:"score"`
	Flag  bool             `parquet:"flag"`
}

func wides(n int) (rows []wide) {
	for i := range n {
		w := wide{ID: int64(i), Name: fmt.Sprintf("name %d", i%7), Flag: i%3 == 0}
		if i%4 > 0 {
			text := strings.Repeat("text ", i%5)
			w.Text = &text
		}
		for j := range i % 3 {
			w.Tags = append(w.Tags, fmt.Sprint(j))
			if w.Score == nil {
				w.Score = make(map[string]int32)
			}
			w.Score[fmt.Sprint(j)] = int32(i)
		}
		rows = append(rows, w)
	}
	return rows
}

// A flipped bit in a page is found by its checksum: the rows before the page are delivered,
// and then there is an error.
func TestSource_corruptPage(t *testing.T) {
	content := encoded(t, items(1, 1000), pq.PageBufferSize(800), pq.MaxRowsPerRowGroup(500))
	dir := t.TempDir()
	path := save(t, dir, "a.parquet", content)
	f, err := pq.OpenFile(strings.NewReader(string(content)), int64(len(content)))
	must(t, err)
	index, err := f.RowGroups()[1].ColumnChunks()[0].OffsetIndex()
	must(t, err)
	first := 500 + index.FirstRowIndex(2)
	content[index.Offset(3)-1] ^= 4
	save(t, dir, "a.parquet", content)
	save(t, dir, "b.parquet", encoded(t, items(2001, 2003)))

	s := opened(t, dir, nil)
	recs, err := readAll(t, s)
	same(t, ids(recs), numbers(1, first))
	want := fmt.Sprintf("parquet source: file %q, row %d: column \"id\": crc32 checksum mismatch", path, first+1)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got the error %v, want %s", err, want)
	}
	if _, again := s.Read(t.Context()); again == nil || again.Error() != err.Error() {
		t.Fatalf("the second time the error is %v, not %v", again, err)
	}
}

// The rows before a page with a damaged header are delivered, too.
func TestSource_corruptHeader(t *testing.T) {
	content := encoded(t, items(1, 1000), pq.PageBufferSize(800))
	f, err := pq.OpenFile(bytes.NewReader(content), int64(len(content)))
	must(t, err)
	index, err := f.RowGroups()[0].ColumnChunks()[0].OffsetIndex()
	must(t, err)
	content[index.Offset(3)] = 0xff
	recs, err := readUntilError(t, save(t, t.TempDir(), "a", content))
	same(t, ids(recs), numbers(1, index.FirstRowIndex(3)))
	if want := fmt.Sprintf("row %d: column \"id\": the header of the page at offset %d", len(recs)+1, index.Offset(3)); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got the error %v, want one with %q", err, want)
	}
}

// A file that is not a Parquet file, or incomplete, is an error when its turn comes.
func TestSource_noParquet(t *testing.T) {
	whole := encoded(t, items(4, 6))
	long := append(append([]byte{}, whole...), make([]byte, 100)...)
	for name, c := range map[string]struct {
		content []byte
		err     string
	}{
		"empty":      {nil, "it has only 0 bytes"},
		"text":       {[]byte("id,name\n1,item 1\n"), "it is no Parquet file"},
		"truncated":  {whole[:len(whole)-10], "it was truncated"},
		"head":       {append([]byte("PAR2"), whole[4:]...), "magic header"},
		"tail":       {long, "it was truncated"},
		"encrypted":  {append(append([]byte{}, whole[:len(whole)-1]...), 'E'), "it is encrypted"},
		"footer":     {append(append([]byte{}, whole[:len(whole)-8]...), "\xff\xff\xff\x7fPAR1"...), "the footer has"},
		"small":      {append(append([]byte{}, whole[:len(whole)-8]...), "\x03\x00\x00\x00PAR1"...), "metadata"},
		"beginning":  {whole[len(whole)/2:], ""},
		"only magic": {[]byte("PAR1\x00\x00\x00\x00PAR1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, "1", encoded(t, items(1, 3)))
			path := save(t, dir, "2", c.content)
			save(t, dir, "3", encoded(t, items(7, 9)))
			recs, err := readUntilError(t, dir)
			same(t, ids(recs), numbers(1, 3))
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), fmt.Sprintf("file %q, row 1: ", path)) {
				t.Fatalf("got the error %v, want one with %q", err, c.err)
			}
		})
	}
}

// A footer that says more than it holds costs no memory.
func TestSource_boundlessFooter(t *testing.T) {
	sound := encoded(t, items(1, 3))
	size := int(binary.LittleEndian.Uint32(sound[len(sound)-8:]))
	footer := append([]byte{0x15, 2, 0x19, 0xfc}, binary.AppendUvarint(nil, 1<<22)...) // elements of the schema
	content := append(bytes.Clone(sound[:len(sound)-8-size]), footer...)
	content = append(binary.LittleEndian.AppendUint32(content, uint32(len(footer))), "PAR1"...)
	deep := withFooter(t, sound, func(m *format.FileMetaData) {
		m.Schema[0].NumChildren.V = 1
		m.Schema = append(slices.Repeat(m.Schema[:1], 20_000), m.Schema[1])
	})
	for name, content := range map[string][]byte{"list": content, "groups": deep} {
		t.Run(name, func(t *testing.T) {
			path := save(t, t.TempDir(), "a", content)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := readUntilError(t, path)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > 32<<20 {
				t.Fatalf("%d bytes were allocated, and the error is %v", n, err)
			}
		})
	}
}

// withoutChecksums removes the checksums of the pages from a file.
func withoutChecksums(t testing.TB, content []byte) []byte {
	f, err := pq.OpenFile(bytes.NewReader(content), int64(len(content)))
	must(t, err)
	out := bytes.Clone(content)
	remove := func(offset int64) {
		var protocol thrift.CompactProtocol
		var h format.PageHeader
		must(t, thrift.NewDecoder(protocol.NewReaderFromBytes(content[offset:])).Decode(&h))
		sum := binary.AppendVarint(nil, int64(h.CRC))
		i := int(offset) + bytes.Index(content[offset:], sum)
		for j := range sum {
			out[i+j] = 0x80 // a longer form of 0, which means none
		}
		out[i+len(sum)-1] = 0
	}
	for i, g := range f.RowGroups() {
		for j, chunk := range g.ColumnChunks() {
			index, err := chunk.OffsetIndex()
			must(t, err)
			for p := range index.NumPages() {
				remove(index.Offset(p))
			}
			if offset := f.Metadata().RowGroups[i].Columns[j].MetaData.DictionaryPageOffset; offset != 0 {
				remove(offset)
			}
		}
	}
	return out
}

// Whatever is damaged in a file, the source ends with an error or with all rows; it does not
// panic. With checksums, the values are right, too, unless the footer describes them wrongly:
// it has no checksum.
func TestSource_flippedBytes(t *testing.T) {
	want := wides(300)
	for _, version := range []int{1, 2} {
		sound := encoded(t, want, pq.PageBufferSize(500), pq.MaxRowsPerRowGroup(120), pq.DataPageVersion(version), pq.Compression(&pq.Snappy))
		all, err := readUntilError(t, save(t, t.TempDir(), "a", sound))
		must(t, err)
		same(t, len(all), len(want))
		for _, hasChecksums := range []bool{true, false} {
			t.Run(fmt.Sprintf("version_%d/checksums_%t", version, hasChecksums), func(t *testing.T) {
				t.Parallel()
				content := sound
				if !hasChecksums {
					content = withoutChecksums(t, sound)
				}
				flipBytes(t, content, all, hasChecksums)
			})
		}
	}
}

func flipBytes(t *testing.T, content []byte, all []opencdc.Record, hasChecksums bool) {
	rng := rand.New(rand.NewPCG(1, 2))
	runs := 500
	if testing.Short() {
		runs = 100
	}
	dir, wrong, failed := t.TempDir(), 0, 0
	for range runs {
		damaged := bytes.Clone(content)
		i := rng.IntN(len(damaged))
		if rng.IntN(3) == 0 {
			i = len(damaged) - 1 - rng.IntN(min(len(damaged), 4000)) // the footer
		}
		damaged[i] ^= byte(1 + rng.IntN(255))
		recs, err := readUntilError(t, save(t, dir, "a", damaged))
		if err != nil {
			failed++
		} else if len(recs) != len(all) {
			t.Fatalf("byte %d: %d rows without an error, want %d", i, len(recs), len(all))
		}
		for j, rec := range recs {
			if !reflect.DeepEqual(row(rec), row(all[j])) {
				wrong++
				break
			}
		}
	}
	t.Logf("%d of %d files fail, %d have a wrong row", failed, runs, wrong)
	if failed < runs/3 || hasChecksums && wrong > runs/100 {
		t.Fail()
	}
}

// FuzzSource reads any bytes as a file.
func FuzzSource(f *testing.F) {
	for version := 1; version <= 2; version++ {
		f.Add(encoded(f, wides(20), pq.DataPageVersion(version)))
		f.Add(encoded(f, wides(5), pq.DataPageVersion(version), pq.Compression(&pq.Zstd)))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := save(t, t.TempDir(), "a", content)
		recs, err := readUntilError(t, path)
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name the file: %v", err)
		}
		if len(recs) < 2 {
			return
		}
		s := newSource(t, path, recs[len(recs)/2].Position, parquet.WithBatch(7, 1<<20))
		must(t, s.Open(t.Context()))
		rest, restErr := readAll(t, s)
		must(t, s.Teardown(t.Context()))
		if err == nil && restErr == nil && len(rest) != len(recs)-len(recs)/2-1 {
			t.Errorf("%d rows after row %d of %d", len(rest), len(recs)/2+1, len(recs))
		}
	})
}
