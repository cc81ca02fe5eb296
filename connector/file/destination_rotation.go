package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Rotation says when a file is full. Before a Write appends to a full file, the file is
// renamed, and a new one is begun.
//
// orders.jsonl becomes orders.000001.jsonl, the next one orders.000002.jsonl, and so on: each
// number is one more than the highest that exists, also where something was appended to the
// name, as in orders.000001.jsonl.gz. No existing file is overwritten, and none is ever
// removed. The path needs an extension that begins with a letter, so that the natural order
// of the names is the order of the records, with the current file last. A source that reads
// orders*.jsonl then gets the records in order.
type Rotation struct {
	// Bytes is the size that a file should not exceed. A file is full if the records of a
	// Write, or the first MiB of them, would make it larger. All records of a Write go to one
	// file, so a file can exceed Bytes by one Write. 0 means no limit.
	Bytes int64
	// Age is the age at which a file is full, counted from the first write to it. If the file
	// was opened with content, or was closed because too many were open, its age counts from
	// the last write before that. If the clock was set back behind that time, it counts from
	// the next write. A file to which nothing is written is not rotated. 0 means
	// no limit.
	Age time.Duration
}

func (r *Rotation) validate() error {
	switch {
	case r.Bytes < 0:
		return fmt.Errorf("the Bytes of the rotation are negative: %d", r.Bytes)
	case r.Age < 0:
		return fmt.Errorf("the Age of the rotation is negative: %v", r.Age)
	case r.Bytes == 0 && r.Age == 0:
		return errors.New("the rotation has neither Bytes nor Age")
	}
	return nil
}

// isDue reports whether a file must be rotated before n bytes are appended.
func (r *Rotation) isDue(size int64, age time.Duration, n int) bool {
	return r.Bytes > 0 && size+int64(n) > r.Bytes || r.Age > 0 && age >= r.Age
}

// checkExtension returns an error if rotated files would not sort before the current one.
func checkExtension(ext string) error {
	if first, _ := utf8.DecodeRuneInString(strings.TrimPrefix(ext, ".")); !unicode.IsLetter(first) {
		return errors.New("a rotation needs a path with an extension that begins with a letter, such as .jsonl")
	}
	return nil
}

// rotatedPath returns the path of rotated file n.
func rotatedPath(path string, n int) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s.%06d%s", strings.TrimSuffix(path, ext), n, ext)
}

// lastRotated returns the highest number of a rotated file, compressed ones included, or 0.
func lastRotated(path string) (int, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	ext := filepath.Ext(path)
	prefix := strings.TrimSuffix(filepath.Base(path), ext) + "."
	last := 0
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			rest, ok := strings.CutPrefix(name, prefix)
			if !ok {
				continue
			}
			number, rest, ok := strings.Cut(rest, ext)
			if !ok || rest != "" && rest[0] != '.' || len(number) < 6 || strings.Trim(number, "0123456789") != "" {
				continue
			}
			if n, err := strconv.Atoi(number); err == nil {
				last = max(last, n)
			}
		}
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
