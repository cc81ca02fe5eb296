package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// A mod is a module of a repository.
type mod struct {
	path  string
	dir   string // relative to the top of the repository, with slashes
	gomod string // file name
	file  *modfile.File
}

// mods are the modules of a repository, sorted by directory. The first is at the top.
type mods []mod

func findModules(top string) (mods, error) {
	names, err := execute(top, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	var found mods
	for _, name := range strings.Fields(names) {
		gomod := filepath.Join(top, filepath.FromSlash(name))
		content, readErr := os.ReadFile(gomod)
		file, parseErr := modfile.Parse(gomod, content, nil)
		if err := errors.Join(readErr, parseErr); err != nil {
			return nil, err
		}
		found = append(found, mod{modfile.ModulePath(content), path.Dir(name), gomod, file})
	}
	slices.SortFunc(found, func(a, b mod) int { return strings.Compare(a.dir, b.dir) })
	if len(found) == 0 || found[0].dir != "." {
		return nil, fmt.Errorf("there is no go.mod in %s", top)
	}
	return found, nil
}

// choose returns the modules to release. A tag names the directory of a module, so the
// path of each must be that of the first module and the directory.
func (ms mods) choose(release, never []string) (mods, error) {
	listed := map[string]int{}
	for _, dir := range slices.Concat(release, never) {
		listed[dir]++
	}
	top, _, _ := module.SplitPathVersion(ms[0].path)
	var chosen mods
	for _, m := range ms {
		if n := listed[m.dir]; n != 1 {
			return nil, fmt.Errorf("%s: %s is listed %d times among the released modules and those never released, want once", m.path, m.dir, n)
		}
		delete(listed, m.dir)
		if !slices.Contains(release, m.dir) {
			continue
		}
		if prefix, _, _ := module.SplitPathVersion(m.path); prefix != path.Join(top, m.dir) {
			return nil, fmt.Errorf("%s: no tag can release this path in the directory %s", m.path, m.dir)
		}
		chosen = append(chosen, m)
	}
	for dir := range listed {
		return nil, fmt.Errorf("%s is listed, but HEAD has no module there", dir)
	}
	if len(chosen) == 0 {
		return nil, errors.New("no module is to be released")
	}
	return chosen, nil
}

// require makes the modules require each other at the version. What replaces them
// stays: importers ignore it.
func (ms mods) require(version string) error {
	for _, m := range ms {
		for _, other := range ms {
			if slices.ContainsFunc(m.file.Require, func(r *modfile.Require) bool { return r.Mod.Path == other.path }) {
				_ = m.file.AddRequire(other.path, version) // changes the version; never fails
			}
		}
		if err := os.WriteFile(m.gomod, modfile.Format(m.file.Syntax), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// publish puts a module into a directory that serves as a module proxy, in the format
// of https://go.dev/ref/mod#goproxy-protocol. As when a tag is served, a module without
// a license gets that of the repository, and nested modules are left out.
func (m mod) publish(proxy, version, license string) error {
	escapedPath, _ := module.EscapePath(m.path)
	escapedVersion, _ := module.EscapeVersion(version)
	name := filepath.Join(proxy, filepath.FromSlash(escapedPath), "@v", escapedVersion)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	dir := filepath.Dir(m.gomod)
	if err := os.Link(license, filepath.Join(dir, "LICENSE")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	archive, err := os.Create(name + ".zip")
	if err != nil {
		return err
	}
	return errors.Join(
		zip.CreateFromDir(archive, module.Version{Path: m.path, Version: version}, dir),
		archive.Close(),
		os.Link(m.gomod, name+".mod"),
		os.WriteFile(name+".info", fmt.Appendf(nil, `{"Version":%q}`, version), 0o644),
		os.WriteFile(filepath.Join(filepath.Dir(name), "list"), []byte(version+"\n"), 0o644),
	)
}
