package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conduitio/funnel/internal/life"
)

// contents holds the plain files, followed or new, sorted by their bytes. Files that begin alike
// are adjacent, so a binary search finds those that begin with all bytes of another file, without
// comparing every pair. A file counts up to the size that was last seen.
type contents struct {
	files []*sourceFile

	read, buf [contentsBuffer]byte // of the file that is searched for, and of another one
}

// content describes all bytes of a file.
type content struct {
	length int64
	digest xxhash.Digest
	lines  int64 // line ends
	end    textEnd
}

func (c *content) add(b []byte) {
	_, _ = c.digest.Write(b)
	c.lines += int64(bytes.Count(b, []byte{'\n'}))
	c.end.add(b)
	c.length += int64(len(b))
}

// textEnd says how a text ends. The text is added part by part.
type textEnd struct {
	last   byte
	quotes int
}

func (e *textEnd) add(b []byte) {
	if len(b) > 0 {
		e.last = b[len(b)-1]
		e.quotes += bytes.Count(b, []byte{'"'})
	}
}

// isTorn returns true if the text may end in the middle of a record.
func (e *textEnd) isTorn(format Format) bool {
	return e.last != '\n' || format == CSV && e.quotes%2 != 0
}

// contentsBuffer is the most bytes of a file that are compared at once.
const contentsBuffer = 64 << 10

// found is the result of a search for a file in contents.
type found struct {
	index    int         // where the file belongs
	hasIndex bool        // false if there was no search
	holder   *sourceFile // begins with all bytes of the file, and has no others if possible; or nil
	content  content     // of the file, if there is a holder
}

// errSurveyAgain means that a file cannot be opened or decompressed, although it was surveyed
// just before: it has changed, and another look finds out how.
var errSurveyAgain = errors.New("a file has changed since it was surveyed")

// find searches for the file with the given name, whose first bytes are head. It reads the file
// only as far as another one has the same bytes. in is the file if it is open; otherwise
// errSurveyAgain is possible.
func (c *contents) find(ctx context.Context, head []byte, name string, in *input) (found, error) {
	from, to, err := c.narrow(0, len(c.files), 0, head)
	if err != nil || from == to {
		return found{index: from, hasIndex: true}, err
	}
	if in != nil {
		in = in.again()
	} else if in, err = openInput(name); err != nil {
		return found{}, errors.Join(errSurveyAgain, err)
	} else {
		defer func() { _ = in.close() }()
	}
	var read content
	read.digest.Reset()
	for size := fingerprintSize; from < to; size = min(2*size, contentsBuffer) {
		if err := life.Ended(ctx); err != nil {
			return found{}, err
		}
		n, err := in.readAt(c.read[:size], read.length)
		if errors.Is(err, io.EOF) {
			return found{index: from, hasIndex: true, holder: c.files[from], content: read}, nil
		}
		if err != nil && !in.isPlain() {
			return found{}, errors.Join(errSurveyAgain, err)
		}
		if err != nil {
			return found{}, fmt.Errorf("file %q, offset %d: %w", name, read.length, err)
		}
		b := c.read[:n]
		if from, to, err = c.narrow(from, to, read.length, b); err != nil {
			return found{}, err
		}
		read.add(b)
	}
	return found{index: from, hasIndex: true}, nil
}

// narrow returns the part of a range whose files have the given bytes at an offset. All files in
// the range must have the same bytes before the offset. An empty result lies where a file with
// the given bytes belongs.
func (c *contents) narrow(from, to int, offset int64, b []byte) (int, int, error) {
	var failure error
	compare := func(i int) int {
		got, err := c.files[i].bytesAt(c.buf[:len(b)], offset)
		if err != nil {
			failure = c.files[i].fault(offset, err)
		}
		return bytes.Compare(got, b)
	}
	from += sort.Search(to-from, func(i int) bool { return compare(from+i) >= 0 })
	to = from + sort.Search(to-from, func(i int) bool { return compare(from+i) > 0 })
	return from, to, failure
}

// add puts a file in its place.
func (c *contents) add(ctx context.Context, f *sourceFile) error {
	where, err := c.find(ctx, f.beginning, f.name, f.in)
	if err == nil {
		c.insert(where, f)
	}
	return err
}

func (c *contents) insert(where found, f *sourceFile) {
	c.files = slices.Insert(c.files, where.index, f)
}

// isSortable returns true if contents can hold the file.
func (f *sourceFile) isSortable() bool {
	return f.in != nil && f.in.isPlain() && len(f.beginning) > 0
}

// bytesAt reads the bytes of a plain file at an offset into b. It returns fewer than len(b) if
// the file, as last seen, ends before.
func (f *sourceFile) bytesAt(b []byte, offset int64) ([]byte, error) {
	b = b[:max(0, min(int64(len(b)), f.info.Size()-offset))]
	n := 0
	if offset < int64(len(f.beginning)) {
		n = copy(b, f.beginning[offset:])
	}
	if n == len(b) {
		return b, nil
	}
	more, err := f.in.file.ReadAt(b[n:], offset+int64(n))
	if err == io.EOF {
		err = nil
	}
	return b[:n+more], err
}

// errLookAgain ends a look in which a file was truncated: its copies may have gone unrecognised.
// The next look decides.
var errLookAgain = errors.New("a file was truncated while others were compared with it")

// sortContents sorts the followed files, once in each look. It looks at them again: they may
// have grown before the copies that were surveyed were made.
func (s *session) sortContents(ctx context.Context, now time.Time) error {
	if s.follow.contents != nil {
		return nil
	}
	c := &contents{}
	for _, f := range slices.Clone(s.files) {
		if !f.isSortable() {
			continue
		}
		if err := s.lookIntact(ctx, f, now); err != nil {
			return err
		}
		if err := c.add(ctx, f); err != nil {
			return err
		}
	}
	s.follow.contents = c
	return nil
}

// lookIntact looks at a file like lookAt, but compares its bytes even if its size and time are the
// same. It returns errLookAgain if the file was truncated or replaced.
func (s *session) lookIntact(ctx context.Context, f *sourceFile, now time.Time) error {
	isIntact, err := f.isIntact(&s.window)
	switch {
	case err != nil:
		return f.fault(f.offset, err)
	case isIntact:
		err = s.lookAt(ctx, f, now)
	default:
		err = s.leaveChanged(ctx, f)
	}
	if err == nil && f.in == nil {
		err = errLookAgain
	}
	return err
}

// checkContents returns errLookAgain if a file was truncated or replaced while others were
// compared with it.
func (s *session) checkContents(ctx context.Context, now time.Time) error {
	if s.follow.contents == nil {
		return nil
	}
	for _, f := range s.follow.contents.files {
		if f.isLost && !slices.Contains(s.files, f) {
			continue // its input still belongs to the nameless file that it replaces
		}
		if err := s.lookIntact(ctx, f, now); err != nil {
			return err
		}
	}
	return nil
}
