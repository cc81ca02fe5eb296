// Package place finds the files of a source: one file, the files in a directory, or the files
// that match a pattern.
package place

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/conduitio/funnel/internal/life"
)

// Place is where the files of a source are. [Find] makes one.
type Place struct {
	path   string
	hidden string // names with one of these first characters are left out
	kind   kind
}

type kind int

const (
	oneFile kind = iota
	directory
	pattern
)

// File is a file that List has found.
type File struct {
	Name string // its path
	Info os.FileInfo
}

// hasMeta returns true if the path may be a pattern.
func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[`) }

// Check returns an error if a path or pattern is invalid. It does not look at the file system.
func Check(path string) error {
	switch {
	case path == "":
		return errors.New("the path is empty")
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("the path %q holds a zero byte", path)
	case !hasMeta(path):
		return nil
	case strings.Contains(path, "**"):
		return fmt.Errorf("the pattern %q holds **, which is not supported: * stands for part of one name", path)
	}
	if _, err := filepath.Match(path, ""); err != nil {
		return fmt.Errorf("the pattern %q: %w", path, err)
	}
	return nil
}

// Find finds out whether a path is that of a file or a directory, or is a pattern. A path with
// nothing at it counts as a file. In a directory or a pattern, files whose names begin with one
// of the hidden characters are left out, unless the last part of the pattern begins with the
// same character.
func Find(path, hidden string) (Place, error) {
	p := Place{path: filepath.Clean(path), hidden: hidden}
	info, err := os.Stat(p.path)
	switch {
	case err == nil && info.IsDir():
		p.kind = directory
	case err == nil && !info.Mode().IsRegular():
		return Place{}, &fs.PathError{Op: "open", Path: p.path, Err: errors.New("it is neither a regular file nor a directory")}
	case err == nil:
	case hasMeta(p.path):
		p.kind = pattern
	case !IsGone(err):
		return Place{}, err
	}
	return p, nil
}

// Path returns the path, in its shortest form.
func (p Place) Path() string { return p.path }

// IsFile returns true if the path is that of one file, whether it exists or not.
func (p Place) IsFile() bool { return p.kind == oneFile }

// Update looks again at a path that counts as a file: it may be a directory by now.
func (p *Place) Update() {
	if p.kind != oneFile {
		return
	}
	if info, err := os.Stat(p.path); err == nil && info.IsDir() {
		p.kind = directory
	}
}

// IsGone returns true if an error means that there is no file. Symbolic links in a loop count
// as that, too.
func IsGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// Holds returns true if List may return a file with this path. It does not look at the file
// system. If the place is a directory, the path must be that of a file in it.
func (p Place) Holds(name string) bool {
	switch p.kind {
	case oneFile:
		return name == p.path
	case directory:
		return !p.isHidden(filepath.Base(name), "*")
	default:
		isMatch, err := filepath.Match(p.path, name)
		return isMatch || err != nil
	}
}

// isHidden returns true if a name is left out even if it matches the pattern.
func (p Place) isHidden(name, pattern string) bool {
	return strings.Contains(p.hidden, name[:1]) && name[0] != pattern[0]
}

// List returns the regular files, in the natural order of their paths, and the directories in
// which further files may appear.
func (p Place) List(ctx context.Context) (files []File, directories []string, err error) {
	switch p.kind {
	case oneFile:
		directories = []string{filepath.Dir(p.path)}
		files, err = add(nil, p.path)
	case directory:
		directories = []string{p.path}
		files, err = p.readDir(ctx, nil, p.path, "*")
	default:
		if directories, err = globDirectories(filepath.Dir(p.path)); err != nil {
			return nil, nil, err
		}
		for _, dir := range directories {
			if files, err = p.readDir(ctx, files, dir, filepath.Base(p.path)); err != nil {
				return nil, nil, err
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(files, func(a, b File) int { return compareNatural(a.Name, b.Name) })
	return files, directories, nil
}

// Distinct returns each file once: a file with several names only under the first of them. It
// changes the slice.
func Distinct(files []File) []File {
	type key struct{ device, inode uint64 }
	seen := make(map[key]bool, len(files))
	return slices.DeleteFunc(files, func(f File) bool {
		device, inode := Inode(f.Info)
		k := key{device, inode}
		isAgain := inode != 0 && seen[k]
		seen[k] = true
		return isAgain
	})
}

// globDirectories returns the directories that match a pattern. Unlike [filepath.Glob], it
// returns errors: a directory that cannot be read may hold files.
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
		if err != nil && !IsGone(err) {
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

// readDir adds the files of a directory whose names match.
func (p Place) readDir(ctx context.Context, files []File, dir, pattern string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if IsGone(err) {
			return files, nil
		}
		return nil, err
	}
	for _, entry := range entries {
		if err := life.Ended(ctx); err != nil {
			return nil, err
		}
		name := entry.Name()
		if p.isHidden(name, pattern) {
			continue
		}
		if ok, err := filepath.Match(pattern, name); err != nil || !ok {
			continue
		}
		if files, err = add(files, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// add adds a file, if it is a regular file.
func add(files []File, name string) ([]File, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.Mode().IsRegular():
		return append(files, File{name, info}), nil
	case err == nil, IsGone(err):
		return files, nil
	default:
		return nil, err
	}
}
