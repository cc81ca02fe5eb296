package file

// window is the part of a file that is in memory: the bytes that were read and are not
// part of a record yet, and up to fingerprintSize bytes before them. There is one for all
// files of a source.
type window struct {
	owner *sourceFile
	base  int64 // the offset in the file of the first byte
	buf   []byte
	begin int // of the bytes that are not part of a record yet
	end   int
}

const windowSize = 256 << 10

// load empties the window for a file from an offset on.
func (w *window) load(owner *sourceFile, offset int64) {
	if len(w.buf) != windowSize { // it had grown for a long record
		w.buf = make([]byte, windowSize)
	}
	w.owner, w.base, w.begin, w.end = owner, offset, 0, 0
}

// data returns the bytes that are not part of a record yet.
func (w *window) data() []byte { return w.buf[w.begin:w.end] }

// room returns where to put the next bytes. It moves or grows the buffer if it is full.
func (w *window) room() []byte {
	if w.end == len(w.buf) {
		if drop := w.begin - fingerprintSize; drop > 0 {
			copy(w.buf, w.buf[drop:w.end])
			w.base += int64(drop)
			w.begin -= drop
			w.end -= drop
		}
		if w.end > len(w.buf)/2 {
			w.buf = append(w.buf, make([]byte, len(w.buf))...)
		}
	}
	return w.buf[w.end:]
}

// endOffset returns the offset in the file behind the window.
func (w *window) endOffset() int64 { return w.base + int64(w.end) }

// history returns the last bytes of the window, up to fingerprintSize.
func (w *window) history() []byte { return w.buf[max(0, w.end-fingerprintSize):w.end] }
