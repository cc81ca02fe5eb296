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

// contents are the plain files that are followed, in the order of their bytes: those that begin
// with the same bytes are next to each other. So the files that hold all bytes of another one
// are found by a binary search, without a comparison of every two files. Files count up to the
// sizes that were last seen.
type contents struct {
	files []*sourceFile
	buf   []byte
}

// content is what is known of all bytes of a file.
type content struct {
	length int64
	sum    uint64 // their checksum
	end    textEnd
}

// textEnd says how a text ends that is added part by part.
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

// contentsBuffer is the largest part of a file that is compared at once.
const contentsBuffer = 64 << 10

// found is what contents know about a file.
type found struct {
	index    int         // where it belongs
	isSorted bool        // there is such an index
	holder   *sourceFile // the first file that begins with all of its bytes, or nil
	content  content     // if there is a holder
}

// errSurveyAgain means that a file cannot be opened or decompressed, although it was surveyed
// just before: it has changed, and another look finds out how.
var errSurveyAgain = errors.New("a file has changed since it was surveyed")

// find looks for a file that begins with head. It reads the file only as far as another one has
// the same bytes. in is the file if it is open. Otherwise errSurveyAgain is possible.
func (c *contents) find(ctx context.Context, head []byte, name string, in *input) (found, error) {
	from, to, err := c.narrow(0, len(c.files), 0, head)
	if err != nil || from == to {
		return found{index: from, isSorted: true}, err
	}
	if in != nil {
		in = in.again()
	} else if in, err = openInput(name); err != nil {
		return found{}, errors.Join(errSurveyAgain, err)
	} else {
		defer func() { _ = in.close() }()
	}
	var read content
	var digest xxhash.Digest
	digest.Reset()
	buf := make([]byte, contentsBuffer)
	for size := fingerprintSize; from < to; size = min(2*size, len(buf)) {
		if err := life.Ended(ctx); err != nil {
			return found{}, err
		}
		n, err := in.readAt(buf[:size], read.length)
		if errors.Is(err, io.EOF) {
			read.sum = digest.Sum64()
			return found{index: from, isSorted: true, holder: c.files[from], content: read}, nil
		}
		if err != nil && !in.isPlain() {
			return found{}, errors.Join(errSurveyAgain, err)
		}
		if err != nil {
			return found{}, fmt.Errorf("file %q, offset %d: %w", name, read.length, err)
		}
		if from, to, err = c.narrow(from, to, read.length, buf[:n]); err != nil {
			return found{}, err
		}
		_, _ = digest.Write(buf[:n])
		read.end.add(buf[:n])
		read.length += int64(n)
	}
	return found{index: from, isSorted: true}, nil
}

// narrow returns which of the files in a range have the given bytes at an offset. All bytes
// before it have to be the same in these files. If there is none, the range is empty, and lies
// where a file with these bytes belongs.
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

// bytesAt returns the bytes of a plain file at an offset: as many as b holds, or fewer if they
// end before.
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

// errLookAgain means that a file was truncated during a look, so that its copy may seem to be
// none. Another look finds out.
var errLookAgain = errors.New("a file was truncated meanwhile")

// sortContents sorts the files that are followed, unless that was done in this look. They are
// looked at again, since they may have grown before copies of them were made and surveyed.
func (s *session) sortContents(ctx context.Context, now time.Time) error {
	if s.follow.contents != nil {
		return nil
	}
	c := &contents{buf: make([]byte, contentsBuffer)}
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

// lookIntact looks at a file, and compares its bytes even if nothing else has changed. It
// returns errLookAgain if the file was truncated.
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

// checkContents returns errLookAgain if a file was truncated while others were compared with it.
func (s *session) checkContents(ctx context.Context, now time.Time) error {
	if s.follow.contents == nil {
		return nil
	}
	for _, f := range s.follow.contents.files {
		if f.isLost && !slices.Contains(s.files, f) {
			continue // its input belongs to the file that it takes the place of
		}
		if err := s.lookIntact(ctx, f, now); err != nil {
			return err
		}
	}
	return nil
}
