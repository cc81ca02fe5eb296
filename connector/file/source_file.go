package file

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conduitio/funnel/connector/file/internal/scan"
)

// byteOrderMark may stand at the beginning of a file, and is skipped.
var byteOrderMark = []byte("\xef\xbb\xbf")

// sourceFile is a file that is read.
type sourceFile struct {
	name string
	info os.FileInfo // when it was last looked at
	in   *input      // nil until reading begins

	isPrepared   bool // reading can continue at the offset
	isCompressed bool
	isQuoted     bool // quotes may hold line ends

	offset    int64         // bytes that have become records
	digest    xxhash.Digest // of these bytes
	lines     int64         // line ends in them
	isRest    bool          // they end in the middle of a line
	beginning []byte        // the first bytes that were read, up to fingerprintSize
	scanner   *scan.Scanner
	header    []string // of CSV, once it was read
	isEnd     bool     // nothing follows what was read
	counted   int64    // bytes that were counted as read
	lastState *knownFile
	lastKey   stateKey

	// While following:
	after   *sourceFile // is read first
	isIdle  bool        // was read to its end
	readEnd int64       // offset after the bytes that were read
	tail    []byte      // the last bytes before readEnd, while they are not in the window
	isLost  bool        // no name leads to it anymore
	grownAt time.Time   // when it has last grown
	isFinal bool        // nothing more is expected
}

// known returns what positions say about the file.
func (f *sourceFile) known(isFinished bool, now time.Time) *knownFile {
	beginning := f.lasting()
	k := &knownFile{
		beginning:     hashBeginning(beginning),
		beginningSize: len(beginning),
		offset:        f.offset,
		sum:           f.digest.Sum64(),
		isFinished:    isFinished,
		name:          f.name,
		isMoved:       f.isLost,
		hints:         hintsOf(f.name, f.info, now),
		isPresent:     isFinished && !f.isLost,
	}
	if f.isLost {
		k.hints.name, k.hints.stat = 0, 0
	}
	return k
}

// stateKey is what the state of an unfinished file depends on.
type stateKey struct {
	name          string
	isLost        bool
	offset        int64
	beginningSize int
}

// state returns what positions say about the unfinished file. It is cached until something
// changes, since each position holds the states of all files.
func (f *sourceFile) state(now time.Time) *knownFile {
	key := stateKey{f.name, f.isLost, f.offset, len(f.beginning)}
	if f.lastState == nil || f.lastKey != key {
		f.lastState, f.lastKey = f.known(false, now), key
	}
	return f.lastState
}

// lasting returns the beginning without an incomplete record at its end, which a writer may
// remove again.
func (f *sourceFile) lasting() []byte {
	if f.offset == 0 {
		return f.beginning
	}
	for end := len(f.beginning); int64(end) > f.offset; end-- {
		b := f.beginning[:end]
		if b[end-1] == '\n' && (!f.isQuoted || bytes.Count(b, []byte{'"'})%2 == 0) {
			return b
		}
	}
	return f.beginning[:min(int64(len(f.beginning)), f.offset)]
}

// consume moves the offset past the next n bytes of the window.
func (f *sourceFile) consume(w *window, n int, isOpen bool) {
	taken := w.data()[:n]
	_, _ = f.digest.Write(taken)
	f.offset += int64(n)
	f.lines += int64(bytes.Count(taken, []byte{'\n'}))
	f.isRest = isOpen
	w.begin += n
}

// skipMark skips a byte order mark at the beginning of the file. It returns false if it
// takes more bytes to tell whether there is one.
func (f *sourceFile) skipMark(w *window) bool {
	data := w.data()
	if bytes.HasPrefix(data, byteOrderMark) {
		f.consume(w, len(byteOrderMark), false)
		return true
	}
	return f.isEnd || !bytes.HasPrefix(byteOrderMark, data)
}

// fill reads more of the file into the window. It returns io.EOF if there is no more, and
// errChanged if the file is no longer the one that was read before.
func (f *sourceFile) fill(w *window) error {
	room := w.room()
	n, err := f.in.readAt(room, w.endOffset())
	if err == io.EOF && f.in.isPlain() {
		info, statErr := f.in.file.Stat()
		if statErr != nil {
			return statErr
		}
		if info.Size() < w.endOffset() {
			return errChanged
		}
	}
	if err != nil {
		return err
	}
	if f.in.isPlain() {
		if isIntact, err := f.isIntact(w); err != nil {
			return err
		} else if !isIntact {
			return errChanged
		}
	} else if at := w.endOffset(); at < int64(len(f.beginning)) { // of the file that was there before
		want := f.beginning[at:]
		if k := min(n, len(want)); !bytes.Equal(room[:k], want[:k]) {
			return errChanged
		}
	}
	if from := int64(len(f.beginning)) - w.endOffset(); from >= 0 && from < int64(n) {
		more := room[from:n]
		f.beginning = append(f.beginning, more[:min(len(more), fingerprintSize-len(f.beginning))]...)
	}
	w.end += n
	f.tail = nil
	f.readEnd = max(f.readEnd, w.endOffset())
	return nil
}

// isIntact compares the beginning of a plain file, and the last bytes that were read, with
// what is there now.
func (f *sourceFile) isIntact(w *window) (bool, error) {
	parts := []struct {
		end  int64
		want []byte
	}{
		{int64(len(f.beginning)), f.beginning},
		{f.readEnd, f.tail},
		{},
	}
	if w.owner == f {
		parts[2].end, parts[2].want = w.endOffset(), w.history()
	}
	var buf [fingerprintSize]byte
	for _, p := range parts {
		if len(p.want) == 0 {
			continue
		}
		got := buf[:len(p.want)]
		n, err := f.in.file.ReadAt(got, p.end-int64(len(p.want)))
		if err != nil && err != io.EOF {
			return false, err
		}
		if !bytes.Equal(got[:n], p.want) {
			return false, nil
		}
	}
	return true, nil
}

// enter puts the last bytes that were read into the window, which was loaded for the file. So
// the history is kept when files take turns.
func (f *sourceFile) enter(w *window) {
	begin := f.readEnd - int64(len(f.tail))
	if len(f.tail) == 0 || begin > f.offset {
		return
	}
	w.base, w.begin = begin, int(f.offset-begin)
	w.end = copy(w.buf, f.tail)
}

// leave keeps the last bytes of the window, which another file needs.
func (f *sourceFile) leave(w *window) {
	w.owner = nil
	if len(f.tail) > 0 && w.endOffset() < f.readEnd {
		return // it was not read again up to there
	}
	f.tail = append([]byte(nil), w.history()...)
	f.readEnd = w.endOffset()
}

// close closes the file.
func (f *sourceFile) close() error {
	if f.in == nil {
		return nil
	}
	in := f.in
	f.in, f.isPrepared = nil, false
	return in.close()
}

// fault returns an error that names the file and the offset.
func (f *sourceFile) fault(offset int64, err error) error {
	return fmt.Errorf("file %q, offset %d: %w", f.name, offset, err)
}
