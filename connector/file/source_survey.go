package file

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

// survey is what was found out about a file without reading records from it.
type survey struct {
	place.File
	kind    compression
	head    []byte // the first bytes, up to fingerprintSize
	matches []match
	length  int64 // of all bytes, or -1 if the end was not seen
	err     error // why the end of a compressed file cannot be seen

	open *sourceFile // the open file, if no name leads to it any more; then Name is empty
}

// match is a known file whose bytes are the first ones of the file.
type match struct {
	known  *knownFile
	digest xxhash.Digest // of the bytes up to the known offset
	lines  int64
	isRest bool
	tail   []byte // the last of these bytes, up to fingerprintSize
}

// isCompressed returns true if the file is compressed.
func (v *survey) isCompressed() bool { return v.kind == gzipped || v.kind == zstandard }

// isExact returns true if the file holds the bytes of the match, and no others.
func (v *survey) isExact(m match) bool { return v.length == m.known.offset }

// identifier finds known files by their content.
type identifier struct {
	byBeginning map[beginningKey][]*knownFile
	sizes       []int // of the beginnings, in order
	buf         []byte
}

type beginningKey struct {
	size int
	hash uint32
}

func newIdentifier(known []*knownFile, buf []byte) *identifier {
	d := &identifier{byBeginning: make(map[beginningKey][]*knownFile), buf: buf}
	for _, k := range known {
		d.add(k)
	}
	return d
}

// add adds a known file.
func (d *identifier) add(k *knownFile) {
	key := beginningKey{k.beginningSize, k.beginning}
	d.byBeginning[key] = append(d.byBeginning[key], k)
	if i, ok := slices.BinarySearch(d.sizes, k.beginningSize); !ok {
		d.sizes = slices.Insert(d.sizes, i, k.beginningSize)
	}
}

// survey reads as much of a file as it takes to tell which known files it is the same as.
// With toEnd it reads a compressed file to its end, to see whether it has one.
func (d *identifier) survey(ctx context.Context, f place.File, h hints, toEnd bool) (*survey, error) {
	in, err := openInput(f.Name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.close() }()
	f.Info = in.info // it may have grown since it was listed
	return d.surveyInput(ctx, in, f, h, toEnd && !in.isPlain())
}

// surveyOpen surveys a file that is open, and to which no name leads any more.
func (d *identifier) surveyOpen(ctx context.Context, open *sourceFile, now time.Time) (*survey, error) {
	info, err := open.in.file.Stat()
	if err != nil {
		return nil, open.fault(0, err)
	}
	v, err := d.surveyInput(ctx, open.in.again(), place.File{Info: info}, hintsOf("", info, now), true)
	if err != nil {
		return nil, open.fault(0, err)
	}
	v.open = open
	return v, nil
}

func (d *identifier) surveyInput(ctx context.Context, in *input, f place.File, h hints, toEnd bool) (*survey, error) {
	v := &survey{File: f, kind: in.kind, length: -1}
	r := &surveyReader{identifier: d, in: in, survey: v}
	if err := r.readHead(); err != nil || v.err != nil {
		return v, err
	}
	candidates := d.candidates(v, h)
	if len(candidates) == 1 && candidates[0].isFinished && candidates[0].hints.isUnchanged(h) {
		k := candidates[0]
		v.matches, v.length = []match{{known: k}}, k.offset
		return v, nil
	}
	for _, k := range candidates {
		if isThere, err := r.readTo(ctx, k.offset); err != nil || !isThere {
			return v, err
		}
		if r.digest.Sum64() == k.sum {
			v.matches = append(v.matches, match{known: k, digest: r.digest, lines: r.lines, isRest: r.isRest, tail: bytes.Clone(r.tail)})
		}
	}
	end := r.offset
	switch {
	case toEnd:
		end = 1 << 62
	case len(v.matches) > 0:
		end++
	}
	_, err := r.readTo(ctx, end)
	return v, err
}

// candidates returns the known files with the same beginning, in the order of their
// offsets, or the only one if hints and size leave no doubt.
func (d *identifier) candidates(v *survey, h hints) []*knownFile {
	var candidates []*knownFile
	for _, size := range d.sizes {
		if size > len(v.head) {
			break
		}
		for _, k := range d.byBeginning[beginningKey{size, hashBeginning(v.head[:size])}] {
			isSmaller := !v.isCompressed() && k.offset > v.Info.Size()
			if isSmaller || size == 0 {
				continue
			}
			if k.isFinished && k.hints.isUnchanged(h) && (v.isCompressed() || k.offset == v.Info.Size()) {
				return []*knownFile{k}
			}
			candidates = append(candidates, k)
		}
	}
	slices.SortStableFunc(candidates, func(a, b *knownFile) int { return cmp.Compare(a.offset, b.offset) })
	return candidates
}

// surveyReader reads a file once, from its beginning.
type surveyReader struct {
	*identifier
	in     *input
	survey *survey

	offset     int64 // of what was hashed
	digest     xxhash.Digest
	lines      int64
	isRest     bool
	tail       []byte // the last bytes that were hashed, up to fingerprintSize
	begin, end int    // in the buffer, of what was read and not hashed
	readEnd    int64  // the offset behind what was read
	isEnd      bool
}

func (r *surveyReader) readHead() error {
	r.digest.Reset()
	for r.readEnd < fingerprintSize && !r.isEnd {
		if err := r.read(); err != nil {
			return err
		}
	}
	r.survey.head = bytes.Clone(r.buf[:min(r.end, fingerprintSize)])
	return nil
}

// read reads some more bytes into the buffer.
func (r *surveyReader) read() error {
	if r.begin == r.end {
		r.begin, r.end = 0, 0
	}
	n, err := r.in.readAt(r.buf[r.end:], r.readEnd)
	r.end += n
	r.readEnd += int64(n)
	var path *os.PathError
	switch {
	case err == io.EOF:
		r.isEnd = true
	case errors.As(err, &path):
		return err
	case err != nil:
		r.survey.err = err
		r.isEnd = true
	}
	return nil
}

// readTo hashes the bytes up to an offset. It returns false if the file ends before it.
func (r *surveyReader) readTo(ctx context.Context, offset int64) (bool, error) {
	for r.offset < offset {
		if r.begin == r.end {
			if r.isEnd {
				if r.survey.err == nil {
					r.survey.length = r.offset
				}
				return false, nil
			}
			if err := life.Ended(ctx); err != nil {
				return false, err
			}
			if err := r.read(); err != nil {
				return false, err
			}
			continue
		}
		taken := r.buf[r.begin:min(int64(r.end), int64(r.begin)+offset-r.offset)]
		r.begin += len(taken)
		_, _ = r.digest.Write(taken)
		r.tail = lastBytes(r.tail, taken)
		r.offset += int64(len(taken))
		r.lines += int64(bytes.Count(taken, []byte{'\n'}))
		r.isRest = taken[len(taken)-1] != '\n' && !(r.offset == int64(len(byteOrderMark)) && bytes.HasPrefix(r.survey.head, byteOrderMark))
	}
	return true, nil
}

// lastBytes appends b to tail, and drops all but the last fingerprintSize bytes.
func lastBytes(tail, b []byte) []byte {
	b = b[max(0, len(b)-fingerprintSize):]
	drop := max(0, len(tail)+len(b)-fingerprintSize)
	return append(append(tail[:0], tail[drop:]...), b...)
}
