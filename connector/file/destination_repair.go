package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/conduitio/funnel/internal/disk"
)

// What a crash can leave of the last append is any of its sectors, with zeros in place of
// the others, up to any length. So no format writes a NUL, and the end of a file is searched
// for one. All that can be torn is one append, since a file is synced before the next one.
// An append has at most maxAppend bytes, or it is a single record.

const (
	defaultMaxAppend = 1 << 20 // bytes
	maxOpenQuote     = 16      // appends in an open quote that are cut off
	blockSize        = 64 << 10
	sector           = 512 // bytes that a disk writes as a whole
)

// tail is what can be torn of a file.
type tail struct {
	begin int64 // everything before it was synced; may be behind the end
	end   int64 // the end of the last whole record
}

// tailOfLines returns the tail of a file in which each line is a record. It reads the
// last line, or the last maxAppend bytes if they are more.
func tailOfLines(file io.ReaderAt, size, maxAppend int64) (tail, error) {
	t := tail{}
	end, err := lineBegin(file, size)
	if err != nil {
		return t, err
	}
	t.end, t.begin = end, end
	if end == size && size > 0 { // the last line has its end
		if t.begin, err = lineBegin(file, size-1); err != nil {
			return t, err
		}
	}
	t.begin = max(min(t.begin, size-maxAppend), 0)
	hole, err := firstHole(file, t.begin, size)
	if err != nil || hole < 0 {
		return t, err
	}
	end, err = lineBegin(file, hole)
	if err != nil {
		return t, err
	}
	if err := checkHole(file, hole, end, size); err != nil {
		return t, err
	}
	t.end = end
	return t, nil
}

// lineBegin returns where the line begins that byte i belongs to, or would.
func lineBegin(file io.ReaderAt, i int64) (int64, error) {
	block := make([]byte, min(blockSize, i))
	for i > 0 {
		block = block[:min(blockSize, i)]
		begin := i - int64(len(block))
		if err := readFull(file, block, begin); err != nil {
			return 0, err
		}
		if at := bytes.LastIndexByte(block, '\n'); at >= 0 {
			return begin + int64(at) + 1, nil
		}
		i = begin
	}
	return 0, nil
}

// firstHole returns where the first NUL is, or -1.
func firstHole(file io.ReaderAt, begin, end int64) (int64, error) {
	block := make([]byte, min(blockSize, end-begin))
	for begin < end {
		block = block[:min(blockSize, end-begin)]
		if err := readFull(file, block, begin); err != nil {
			return -1, err
		}
		if i := bytes.IndexByte(block, 0); i >= 0 {
			return begin + int64(i), nil
		}
		begin += int64(len(block))
	}
	return -1, nil
}

// checkHole returns an error if the NUL at hole is not what a crash leaves: nothing up to
// the end of a sector, from its begin or from the end of a record. recordEnd is that of
// the record before it.
func checkHole(file io.ReaderAt, hole, recordEnd, size int64) error {
	end := min((hole/sector+1)*sector, size)
	zeros := make([]byte, end-hole)
	if err := readFull(file, zeros, hole); err != nil {
		return err
	}
	for _, b := range zeros {
		if b != 0 {
			return fmt.Errorf("byte %d is a NUL, so this is not a file that the destination has written", hole)
		}
	}
	if hole%sector != 0 && hole != recordEnd {
		return fmt.Errorf("from byte %d on there are NULs, so this is not a file that the destination has written", hole)
	}
	return nil
}

// tailOfCSV returns the tail of a CSV file. It reads the whole file, since only that tells
// which line ends stand in quotes.
func tailOfCSV(file io.ReaderAt, size, maxAppend int64, separator rune) (tail, error) {
	comma := utf8.AppendRune(nil, separator)
	s := csvScan{comma: comma[len(comma)-1]}
	block := make([]byte, min(blockSize, size))
	hole := int64(-1)
	for at := int64(0); at < size && hole < 0; at += int64(len(block)) {
		block = block[:min(blockSize, size-at)]
		if err := readFull(file, block, at); err != nil {
			return tail{}, err
		}
		text := block
		if i := bytes.IndexByte(block, 0); i >= 0 {
			hole, text = at+int64(i), block[:i]
		}
		s.scan(text, at)
	}
	t := tail{begin: max(min(s.lastBegin, size-maxAppend), 0), end: s.lastEnd}
	if hole >= 0 {
		return t, checkHole(file, hole, s.lastEnd, size)
	}
	if torn := size - s.lastEnd; torn > maxOpenQuote*maxAppend && s.isQuoted && s.lines > 0 {
		return t, fmt.Errorf("the record at byte %d has a quote that is never closed, so %d bytes with line ends would be cut off: close it, or cut them off", s.lastEnd, torn)
	}
	return t, nil
}

// csvScan finds the ends of the records of a CSV file. A quote opens a field only where
// the field begins, and anywhere else it is text.
type csvScan struct {
	comma byte // the last byte of the separator

	lastBegin, lastEnd int64 // of the last whole record
	lines              int   // line ends in quotes since lastEnd
	isQuoted, hasBOM   bool
	closed             int64 // the offset behind the last quote that has closed a field
	previous           byte  // the last byte of the text before
}

// scan scans the text at the offset, which follows the text before.
func (s *csvScan) scan(text []byte, offset int64) {
	if offset == 0 {
		s.hasBOM = bytes.HasPrefix(text, []byte(bom))
	}
	for i := 0; i < len(text); {
		if s.isQuoted {
			n := bytes.IndexByte(text[i:], '"')
			if n < 0 {
				s.lines += bytes.Count(text[i:], lineEnd)
				break
			}
			s.lines += bytes.Count(text[i:i+n], lineEnd)
			i += n + 1
			s.isQuoted, s.closed = false, offset+int64(i)
			continue
		}
		n := bytes.IndexAny(text[i:], "\"\n")
		if n < 0 {
			break
		}
		i += n
		at := offset + int64(i)
		if text[i] == '\n' {
			s.lastBegin, s.lastEnd, s.lines = s.lastEnd, at+1, 0
		} else {
			if i > 0 {
				s.previous = text[i-1]
			}
			isEscape := s.closed == at && at > 0
			s.isQuoted = isEscape || at == s.lastEnd || s.hasBOM && at == int64(len(bom)) || s.previous == s.comma
		}
		i++
	}
	if len(text) > 0 {
		s.previous = text[len(text)-1]
	}
}

// bom is the byte order mark that some programs put at the beginning of a file.
const bom = "\ufeff"

var lineEnd = []byte{'\n'}

// repair cuts off what is torn of a file, and makes the rest of the tail durable. After a
// sync that has failed, a file can show bytes that are not on the disk and that no later
// sync writes. So the tail is written again.
func repair(file disk.File, t tail, withSync bool) error {
	if err := file.Truncate(t.end); err != nil || !withSync {
		return err
	}
	block := make([]byte, max(min(blockSize, t.end-t.begin), 0))
	for at := t.begin; at < t.end; at += int64(len(block)) {
		block = block[:min(blockSize, t.end-at)]
		if err := readFull(file, block, at); err != nil {
			return err
		}
		if _, err := file.WriteAt(block, at); err != nil {
			return err
		}
	}
	return file.Sync()
}

// readFull fills p with the bytes at the offset.
func readFull(file io.ReaderAt, p []byte, offset int64) error {
	n, err := file.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(p), offset, err)
}
