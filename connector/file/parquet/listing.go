package parquet

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

// hasMeta returns true if the path may be a pattern.
func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[`) }

// checkPath returns an error if no files can be at the path.
func checkPath(path string) error {
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

// listFiles returns the paths of the files at a path, in natural order. isOne is true if
// the path is that of a file.
func listFiles(ctx context.Context, path string) (names []string, isOne bool, err error) {
	path = filepath.Clean(path)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		names, err = listDirectory(ctx, path, "*")
	case err == nil && !info.Mode().IsRegular():
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is neither a regular file nor a directory")}
	case err == nil:
		return []string{path}, true, nil
	case !hasMeta(path):
		return nil, true, err
	default:
		names, err = listPattern(ctx, path)
	}
	slices.SortFunc(names, compareNatural)
	return names, false, err
}

func listPattern(ctx context.Context, path string) (names []string, err error) {
	dirs, base := []string{filepath.Dir(path)}, filepath.Base(path)
	if hasMeta(dirs[0]) {
		if dirs, err = filepath.Glob(dirs[0]); err != nil {
			return nil, err
		}
	}
	for _, dir := range dirs {
		more, err := listDirectory(ctx, dir, base)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	return names, nil
}

// listDirectory returns the paths of the files in a directory whose names match.
func listDirectory(ctx context.Context, dir, pattern string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if isGone(err) {
			return nil, nil
		}
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if err := life.Ended(ctx); err != nil {
			return nil, err
		}
		name := entry.Name()
		if (name[0] == '.' || name[0] == '_') && name[0] != pattern[0] {
			continue
		}
		if ok, err := filepath.Match(pattern, name); err != nil || !ok {
			continue
		}
		name = filepath.Join(dir, name)
		info, err := os.Stat(name)
		switch {
		case err == nil && info.Mode().IsRegular():
			names = append(names, name)
		case err != nil && !isGone(err):
			return nil, err
		}
	}
	return names, nil
}

// isGone returns true if an error says that nothing is there.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// compareNatural compares names such that numbers in them are in order: a2 comes before
// a10.
func compareNatural(a, b string) int {
	whole := strings.Compare(a, b)
	for a != "" && b != "" {
		x, restA := number(a)
		y, restB := number(b)
		if x == "" || y == "" {
			if a[0] != b[0] {
				return strings.Compare(a[:1], b[:1])
			}
			a, b = a[1:], b[1:]
			continue
		}
		a, b = restA, restB
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return whole
}

// number returns the digits with which a text begins, and the rest.
func number(text string) (digits, rest string) {
	rest = strings.TrimLeft(text, "0123456789")
	return text[:len(text)-len(rest)], rest
}
