package place_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conduitio/funnel/internal/place"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes files and, for names that end with a slash, directories.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o700))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, nil, 0o600))
	}
	return dir
}

func find(t *testing.T, path, hidden string) place.Place {
	t.Helper()
	p, err := place.Find(path, hidden)
	must(t, err)
	return p
}

// names returns the names of files, without that of their directory.
func names(t *testing.T, dir string, files []place.File) string {
	t.Helper()
	var names []string
	for _, f := range files {
		name, err := filepath.Rel(dir, f.Name)
		must(t, err)
		names = append(names, filepath.ToSlash(name))
	}
	return fmt.Sprint(names)
}

func TestCheck(t *testing.T) {
	for path, want := range map[string]string{
		"a": "", "a/*/b?[cd]": "", "/": "",
		"":       "the path is empty",
		"a\x00":  `the path "a\x00" holds a zero byte`,
		"a/**/b": `the pattern "a/**/b" holds **, which is not supported: * stands for part of one name`,
		"a[":     `the pattern "a[": syntax error in pattern`,
	} {
		got := ""
		if err := place.Check(path); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// A place lists files in natural order, and holds all files that it lists.
func TestPlace_List(t *testing.T) {
	dir := tree(t, "a10", "a2", "a1.log", ".hidden", "_under", "b", "a02", "c/x1", "d/x1", "d/.x2", "d/_x3", "d/deep/x4", "e[1]")
	must(t, os.Symlink("none", filepath.Join(dir, "f")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	must(t, os.Symlink("b", filepath.Join(dir, "z")))
	for _, tc := range []struct{ path, hidden, want string }{
		{"", ".", "[_under a1.log a02 a2 a10 b e[1] z]"},
		{"", "._", "[a1.log a02 a2 a10 b e[1] z]"},
		{"", "", "[.hidden _under a1.log a02 a2 a10 b e[1] z]"},
		{"a*", ".", "[a1.log a02 a2 a10]"},
		{".h*", "._", "[.hidden]"},
		{"_*", "._", "[_under]"},
		{"[_.]*", "._", "[]"},
		{"?", ".", "[b z]"},
		{"*/x*", ".", "[c/x1 d/x1]"},
		{"[cd]/*", ".", "[c/x1 d/_x3 d/x1]"},
		{"[cd]/*", "._", "[c/x1 d/x1]"},
		{"*/deep/*", ".", "[d/deep/x4]"},
		{"e[1]", ".", "[e[1]]"},
		{"b", ".", "[b]"},
		{".hidden", ".", "[.hidden]"},
		{"none", ".", "[]"},
		{"none*/*", ".", "[]"},
		{"a2/*", ".", "[]"},
	} {
		p := find(t, filepath.Join(dir, tc.path), tc.hidden)
		files, _, err := p.List(t.Context())
		must(t, err)
		if got := names(t, dir, files); got != tc.want {
			t.Errorf("%q without %q: got %s, want %s", tc.path, tc.hidden, got, tc.want)
		}
		for _, f := range files {
			if !p.Holds(f.Name) {
				t.Errorf("%q does not hold %s", tc.path, f.Name)
			}
		}
	}
	for path, other := range map[string]string{"": ".hidden", "b": "a2", "a*": "b"} {
		if find(t, filepath.Join(dir, path), ".").Holds(filepath.Join(dir, other)) {
			t.Errorf("%q holds %q", path, other)
		}
	}
}

// The directories are those in which a file may appear.
func TestPlace_List_directories(t *testing.T) {
	dir := tree(t, "c/", "d/")
	for path, want := range map[string]string{
		"": "[]", "none": "[]", "*": "[]", "c/x": "[/c]", "[cd]/*": "[/c /d]", "none/*": "[/none]",
	} {
		_, directories, err := find(t, filepath.Join(dir, path), ".").List(t.Context())
		must(t, err)
		for i := range directories {
			directories[i] = filepath.ToSlash(strings.TrimPrefix(directories[i], dir))
		}
		if got := fmt.Sprint(directories); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

func TestPlace_List_ended(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := find(t, tree(t, "a"), ".").List(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got the error %v", err)
	}
}

func TestFind_errors(t *testing.T) {
	_, err := place.Find(os.DevNull, ".")
	if err == nil || !strings.Contains(err.Error(), "neither a regular file nor a directory") {
		t.Errorf("a device: got the error %v", err)
	}
	if _, err := place.Find(strings.Repeat("a", 5000), "."); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that is too long: got the error %v", err)
	}
}

// A path with nothing at it can become a directory.
func TestPlace_Update(t *testing.T) {
	dir := t.TempDir()
	p := find(t, dir+"/x/", ".")
	if !p.IsFile() || p.Path() != filepath.Join(dir, "x") {
		t.Fatalf("got %+v", p)
	}
	must(t, os.Mkdir(p.Path(), 0o700))
	must(t, os.WriteFile(filepath.Join(p.Path(), "a"), nil, 0o600))
	p.Update()
	files, _, err := p.List(t.Context())
	must(t, err)
	if got := names(t, p.Path(), files); p.IsFile() || got != "[a]" {
		t.Fatalf("got %s", got)
	}
}

func TestDistinct(t *testing.T) {
	dir := tree(t, "b", "c")
	must(t, os.Link(filepath.Join(dir, "b"), filepath.Join(dir, "a")))
	must(t, os.Symlink("b", filepath.Join(dir, "d")))
	files, _, err := find(t, dir, ".").List(t.Context())
	must(t, err)
	if _, number := place.Inode(files[0].Info); number == 0 {
		t.Skip("there are no inodes")
	}
	if got := names(t, dir, place.Distinct(files)); got != "[a c]" {
		t.Fatalf("got %s", got)
	}
}
