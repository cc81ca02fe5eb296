// Release checks that programs of other modules can use the modules of this repository
// at a version, before the version is tagged. It serves the committed modules from a
// module proxy of files, and uses each in a new module that replaces nothing.
// CONTRIBUTING.md says how to release.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

func main() {
	var c command
	flag.StringVar(&c.repo, "repo", ".", "the top `directory` of the repository")
	flag.StringVar(&c.release, "release", "", "the `directories` of the modules to release, separated by spaces")
	flag.StringVar(&c.never, "never", "", "the `directories` of all other modules, separated by spaces")
	flag.BoolVar(&c.committed, "committed", false, "check the go.mod files as they are committed, without writing VERSION into a copy")
	flag.BoolVar(&c.write, "write", false, "check nothing: write VERSION into the go.mod files of the working tree")
	flag.Parse()
	c.version = strings.Join(flag.Args(), " ")
	// An interrupt ends the program that is executed. Then this one cleans up and ends.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	if err := c.run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// A command is what the command line asks for.
type command struct {
	repo, version    string
	release, never   string // directories, relative to repo
	committed, write bool
}

// run prints a line for each module, beginning with the tag that releases it.
func (c command) run(out io.Writer) error {
	if c.version == "" || c.version != semver.Canonical(c.version) {
		return fmt.Errorf("VERSION is %q, want a semantic version such as v0.1.0", c.version)
	}
	if c.write {
		mods, err := findModules(c.repo)
		return errors.Join(err, mods.require(c.version))
	}
	temp, err := os.MkdirTemp("", "funnel-release-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	tree, proxy := filepath.Join(temp, "tree"), filepath.Join(temp, "proxy")
	if _, err := execute("", nil, "git", "clone", "--quiet", c.repo, tree); err != nil {
		return err
	}
	mods, err := findModules(tree)
	if err != nil {
		return err
	}
	released, err := mods.choose(strings.Fields(c.release), strings.Fields(c.never))
	if err != nil {
		return err
	}
	if !c.committed {
		if err := mods.require(c.version); err != nil {
			return err
		}
	}
	for _, m := range released {
		if err := m.publish(proxy, c.version, filepath.Join(tree, "LICENSE")); err != nil {
			return fmt.Errorf("%s: publish: %w", m.path, err)
		}
	}
	env, err := outsideEnv(proxy, mods[0].path)
	if err != nil {
		return err
	}
	for i, m := range released {
		report, err := m.use(filepath.Join(temp, fmt.Sprint("outside", i)), env, c.version)
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		fmt.Fprintf(out, "%s: %s\n", path.Join(m.dir, c.version), report)
	}
	return nil
}

// execute returns what a program prints. Its error holds everything that it said.
func execute(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var stdout, stderr strings.Builder
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, &stderr, &stdout)
	}
	return stdout.String(), nil
}
