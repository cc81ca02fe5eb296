package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// place is where the files of a source are: a file, a directory, or a pattern.
type place struct {
	path string
	kind placeKind
}

type placeKind int

const (
	oneFile placeKind = iota
	directory
	pattern
)

// listed is a file that is there.
type listed struct {
	name string
	info os.FileInfo
}

// hasMeta returns true if the path may be a pattern.
func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[`) }

// checkPath returns an error if no files can be at the path.
func checkPath(path string) error {
	if path == "" {
		return errNoPath
	}
	if strings.ContainsRune(path, 0) {
		return fmt.Errorf("the path %q holds a zero byte", path)
	}
	if !hasMeta(path) {
		return nil
	}
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if strings.Contains(part, "**") {
			return fmt.Errorf("the pattern %q holds **, which is not supported: * stands for part of one name", path)
		}
	}
	if _, err := filepath.Match(path, ""); err != nil {
		return fmt.Errorf("the pattern %q: %w", path, err)
	}
	return nil
}

// newPlace finds out what a path stands for.
func newPlace(path string) (place, error) {
	path = filepath.Clean(path)
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return place{path, directory}, nil
	case err == nil && !info.Mode().IsRegular():
		return place{}, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is neither a regular file nor a directory")}
	case err == nil:
		return place{path, oneFile}, nil
	case hasMeta(path):
		return place{path, pattern}, nil
	case isGone(err):
		return place{path, oneFile}, nil
	default:
		return place{}, err
	}
}

// update looks again at a path that has led to no directory: one may have been made there.
func (p *place) update() {
	if p.kind != oneFile {
		return
	}
	if info, err := os.Stat(p.path); err == nil && info.IsDir() {
		p.kind = directory
	}
}

// isGone returns true if an error says that nothing is there. Symbolic links that lead to each
// other lead to nothing.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// list returns the files that are there, in natural order of their paths, and the
// directories to watch. It returns a file with several names once.
func (p place) list() (files []listed, directories []string, err error) {
	switch p.kind {
	case oneFile:
		directories = []string{filepath.Dir(p.path)}
		files, err = p.add(nil, p.path)
	case directory:
		directories = []string{p.path}
		files, err = p.readDir(p.path, "*")
	default:
		dirs, base := []string{filepath.Dir(p.path)}, filepath.Base(p.path)
		if hasMeta(dirs[0]) {
			if dirs, err = globDirectories(dirs[0]); err != nil {
				return nil, nil, err
			}
		}
		directories = dirs
		for _, dir := range dirs {
			more, err := p.readDir(dir, base)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, more...)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(files, func(a, b listed) int { return compareNatural(a.name, b.name) })
	type key struct{ device, inode uint64 }
	seen := make(map[key]bool, len(files))
	files = slices.DeleteFunc(files, func(f listed) bool {
		device, number := inode(f.info)
		k := key{device, number}
		isAgain := number != 0 && seen[k]
		seen[k] = true
		return isAgain
	})
	return files, directories, nil
}

// globDirectories returns the directories that match a pattern. Unlike [filepath.Glob] it
// returns what goes wrong: a directory that cannot be read may hold files.
func globDirectories(pattern string) ([]string, error) {
	if !hasMeta(pattern) {
		return []string{pattern}, nil
	}
	parents, err := globDirectories(filepath.Dir(pattern))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(pattern)
	var dirs []string
	for _, parent := range parents {
		if !hasMeta(base) {
			dirs = append(dirs, filepath.Join(parent, base))
			continue
		}
		entries, err := os.ReadDir(parent)
		if err != nil && !isGone(err) {
			return nil, err
		}
		for _, entry := range entries {
			if ok, err := filepath.Match(base, entry.Name()); err != nil || !ok || entry.Type().IsRegular() {
				continue
			}
			dirs = append(dirs, filepath.Join(parent, entry.Name()))
		}
	}
	return dirs, nil
}

// holds returns true if a file with the name may be one of those at the place.
func (p place) holds(name string) bool {
	base := filepath.Base(name)
	switch p.kind {
	case oneFile:
		return name == p.path
	case directory:
		return !strings.HasPrefix(base, ".")
	default:
		isMatch, err := filepath.Match(p.path, name)
		return isMatch || err != nil
	}
}

// readDir returns the files of a directory whose names match.
func (p place) readDir(dir, base string) ([]listed, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if isGone(err) {
			return nil, nil
		}
		return nil, err
	}
	var files []listed
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(base, ".") {
			continue
		}
		if ok, err := filepath.Match(base, name); err != nil || !ok {
			continue
		}
		if files, err = p.add(files, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// add adds a file if it is a regular one.
func (p place) add(files []listed, name string) ([]listed, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.Mode().IsRegular():
		return append(files, listed{name, info}), nil
	case err == nil, isGone(err):
		return files, nil
	default:
		return nil, err
	}
}

// compareNatural compares names such that numbers in them are in order: a2 comes before
// a10.
func compareNatural(a, b string) int {
	whole := strings.Compare(a, b)
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na == 0 || nb == 0 {
			if a[0] != b[0] {
				return strings.Compare(a[:1], b[:1])
			}
			a, b = a[1:], b[1:]
			continue
		}
		x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return whole
}

// digits returns how many digits the text begins with.
func digits(text string) int {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return i
		}
	}
	return len(text)
}
