package main

import (
	"archive/zip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	temp, err := os.MkdirTemp("", "release-test-")
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{
		"GOPROXY":           "off",         // no test needs the network
		"GOPRIVATE":         "example.com", // a user's setting must not bypass the proxy
		"GOFLAGS":           "-mod=readonly",
		"GONOSUMDB":         "example.org",
		"GIT_CONFIG_GLOBAL": os.DevNull,
		"TMPDIR":            temp,
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	left, err := os.ReadDir(temp)
	if len(left) > 0 || err != nil {
		fmt.Println("the temporary directory holds", left, err)
		code = 1
	}
	_ = os.RemoveAll(temp)
	os.Exit(code)
}

// pipe returns the files of a repository: a root, a module that requires it, a module
// that requires both, and examples.
func pipe() map[string]string {
	return map[string]string{
		"go.mod":  "module example.com/pipe\n\ngo 1.25\n",
		"LICENSE": "free\n",
		"README.md": "# pipe\n\n```go\nimport \"example.com/pipe\"\n```\n\n" +
			"```go\nfunc flow() string { return pipe.Name() }\n```\n",
		"pipe.go": "package pipe\n\nfunc Name() string { return \"pipe\" }\n",
		"example_flow_test.go": "package pipe_test\n\nimport (\n\t\"fmt\"\n\n\t\"example.com/pipe\"\n)\n\n" +
			"func Example_flow() {\n\tfmt.Println(flow())\n\t// Output: pipe\n}\n\n" +
			"func flow() string { return pipe.Name() }\n",
		"example_other_test.go": "package pipe_test\n\nfunc Example_other() { helper() }\n",
		"helper_test.go":        "package pipe_test\n\nfunc helper() {}\n",

		"wire/go.mod": "module example.com/pipe/wire\n\ngo 1.25\n\n" +
			"require example.com/pipe v0.0.0 // the engine\n\nreplace example.com/pipe => ../\n",
		"wire/wire.go": "package wire\n\nimport \"example.com/pipe\"\n\nfunc Name() string { return pipe.Name() + \".wire\" }\n",

		"wire/deep/go.mod": "module example.com/pipe/wire/deep\n\ngo 1.25\n\n" +
			"require (\n\texample.com/pipe v0.0.0\n\texample.com/pipe/wire v0.0.0\n)\n\n" +
			"replace (\n\texample.com/pipe => ../../\n\texample.com/pipe/wire => ../\n)\n",
		"wire/deep/LICENSE": "other\n",
		"wire/deep/deep.go": "package deep\n\nimport (\n\t\"example.com/pipe\"\n\t\"example.com/pipe/wire\"\n)\n\nfunc Name() string { return pipe.Name() + wire.Name() }\n",

		"examples/go.mod": "module example.com/pipe/examples\n\ngo 1.25\n\n" +
			"require example.com/pipe v0.0.0\n\nreplace example.com/pipe => ../\n",
		"examples/lib/lib.go": "package lib\n",
	}
}

// newCommand commits files to a new repository.
func newCommand(t *testing.T, files map[string]string) command {
	t.Helper()
	c := command{repo: t.TempDir(), version: "v0.3.0", release: ". wire wire/deep", never: "examples"}
	git(t, c.repo, "init", "--quiet")
	commit(t, c.repo, files)
	return c
}

func commit(t *testing.T, repo string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		writeFile(t, filepath.Join(repo, name), content)
	}
	git(t, repo, "add", "--all")
	git(t, repo, "-c", "user.name=test", "-c", "user.email=test", "commit", "--quiet", "--message=test")
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, repo string, args ...string) {
	t.Helper()
	if _, err := execute(repo, nil, "git", args...); err != nil {
		t.Fatal(err)
	}
}

const allUsed = `v0.3.0: 1 packages build, 1 examples of README.md run
wire/v0.3.0: 1 packages build
wire/deep/v0.3.0: 1 packages build
`

func wantUsed(t *testing.T, c command) {
	t.Helper()
	var out strings.Builder
	if err := c.run(&out); err != nil {
		t.Fatal(err)
	}
	if out.String() != allUsed {
		t.Errorf("got:\n%swant:\n%s", &out, allUsed)
	}
}

func wantError(t *testing.T, c command, wants ...string) {
	t.Helper()
	err := c.run(io.Discard)
	if err == nil {
		t.Fatalf("there is no error, want one with %q", wants)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not have %q:\n%v", want, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	wantUsed(t, newCommand(t, pipe()))
}

func TestCheck_HEAD(t *testing.T) {
	t.Parallel()
	c := newCommand(t, pipe())
	writeFile(t, filepath.Join(c.repo, "pipe.go"), "package pipe\n")
	wantUsed(t, c)
	commit(t, c.repo, nil)
	wantError(t, c, "example.com/pipe: go test", "undefined: pipe.Name") // and not what was got for that version before
}

func TestCheck_committed(t *testing.T) {
	t.Parallel()
	c := newCommand(t, pipe())
	c.committed = true
	wantError(t, c, "example.com/pipe/wire: go get", "downloading example.com/pipe v0.0.0")

	write := c
	write.write = true
	if err := write.run(io.Discard); err != nil {
		t.Fatal(err)
	}
	wantError(t, c, "example.com/pipe/wire: go get") // not committed yet
	commit(t, c.repo, nil)
	wantUsed(t, c)
}

func TestCheck_committedInPart(t *testing.T) {
	t.Parallel()
	for _, stale := range []string{"example.com/pipe", "example.com/pipe/wire"} {
		t.Run(stale, func(t *testing.T) {
			t.Parallel()
			files := pipe()
			files["wire/go.mod"] = strings.ReplaceAll(files["wire/go.mod"], "v0.0.0", "v0.3.0")
			deep := strings.ReplaceAll(files["wire/deep/go.mod"], "v0.0.0", "v0.3.0")
			files["wire/deep/go.mod"] = strings.Replace(deep, stale+" v0.3.0", stale+" v0.0.0", 1)
			c := newCommand(t, files)
			c.committed = true
			wantError(t, c, "example.com/pipe/wire/deep: go get", "downloading "+stale+" v0.0.0")
		})
	}
}

// A requirement for tests alone is not loaded by go get.
func TestCheck_committedForTests(t *testing.T) {
	t.Parallel()
	files := pipe()
	files["wire/wire.go"] = "package wire\n"
	files["wire/wire_test.go"] = "package wire_test\n\nimport _ \"example.com/pipe\"\n"
	c := newCommand(t, files)
	c.release, c.never, c.committed = ". wire", "examples wire/deep", true
	wantError(t, c, "example.com/pipe/wire: go build", "downloading example.com/pipe v0.0.0")
}

func TestCheck_fails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string // instead of those of pipe; none if empty
		edit  func(*command)
		wants []string
	}{
		"a module in no list": {
			edit:  func(c *command) { c.never = "" },
			wants: []string{"example.com/pipe/examples", "listed 0 times"},
		},
		"a module in both lists": {
			edit:  func(c *command) { c.never += " wire" },
			wants: []string{"example.com/pipe/wire", "listed 2 times"},
		},
		"no module to release": {
			edit:  func(c *command) { c.release, c.never = "", ". wire wire/deep examples" },
			wants: []string{"no module is to be released"},
		},
		"a list with a directory without a module": {
			edit:  func(c *command) { c.release += " wires" },
			wants: []string{"wires is listed"},
		},
		"a path unlike the directory": {
			files: map[string]string{"wire/deep/go.mod": "module example.com/pipe/deep\n\ngo 1.25\n"},
			wants: []string{"example.com/pipe/deep", "wire/deep"},
		},
		"a go.mod without a module": {
			files: map[string]string{"wire/go.mod": "go 1.25\n"},
			wants: []string{"wire"},
		},
		"a go.mod that cannot be parsed": {
			files: map[string]string{"wire/go.mod": "modul\n"},
			wants: []string{"wire/go.mod:1"},
		},
		"no module at the top": {
			files: map[string]string{"go.mod": ""},
			wants: []string{"there is no go.mod"},
		},
		"no commit": {
			edit:  func(c *command) { c.repo = t.TempDir() },
			wants: []string{"git clone"},
		},
		"a major version that is not in the path": {
			edit:  func(c *command) { c.version = "v2.0.0" },
			wants: []string{"example.com/pipe: publish", "v2.0.0"},
		},
		"no license": {
			files: map[string]string{"LICENSE": ""},
			wants: []string{"LICENSE"},
		},
		"a released module that requires one never released": {
			edit: func(c *command) {
				c.release = ". wire/deep"
				c.never = "examples wire"
			},
			wants: []string{"example.com/pipe/wire/deep: go get", "example.com/pipe/wire: module lookup disabled"},
		},
		"a requirement that only a replacement provides": {
			files: map[string]string{
				"wire/go.mod":       pipe()["wire/go.mod"] + "\nrequire example.com/lost v1.0.0\n\nreplace example.com/lost => ./lost\n",
				"wire/lost/lost.go": "package lost\n",
				"wire/use.go":       "package wire\n\nimport _ \"example.com/lost\"\n",
			},
			wants: []string{"example.com/pipe/wire: go get", "example.com/lost"},
		},
		"an import that go.mod does not require": {
			files: map[string]string{"pipe.go": "package pipe\n\nimport _ \"example.com/lost\"\n"},
			wants: []string{"example.com/pipe: go", "example.com/lost"},
		},
		"an embedded file that is in no zip": {
			files: map[string]string{"pipe.go": "package pipe\n\nimport _ \"embed\"\n\n//go:embed examples/go.mod\nvar Name string\n"},
			wants: []string{"example.com/pipe: go build", "pattern examples/go.mod"},
		},
		"a package that does not compile": {
			files: map[string]string{"wire/other/other.go": "package other\n\nvar x int = \"\"\n"},
			wants: []string{"example.com/pipe/wire: go build", "other.go:3"},
		},
		"a module without packages": {
			files: map[string]string{"wire/deep/deep.go": "", "wire/deep/go.mod": "module example.com/pipe/wire/deep\n"},
			wants: []string{"example.com/pipe/wire/deep", "no packages"},
		},
		"no example in README.md": {
			files: map[string]string{"README.md": "```go\n\tfmt.Println(flow())\n```\n"},
			wants: []string{"example.com/pipe: README.md shows no function"},
		},
		"an example that is not run": {
			files: map[string]string{"example_flow_test.go": strings.Replace(pipe()["example_flow_test.go"], "Output", "Prints", 1)},
			wants: []string{"example.com/pipe: no example of README.md ran"},
		},
		"an example that needs a file of the repository": {
			files: map[string]string{"example_flow_test.go": strings.Replace(pipe()["example_flow_test.go"], "fmt.Println(flow", "helper(); fmt.Println(flow", 1)},
			wants: []string{"example.com/pipe: go test", "undefined: helper"},
		},
		"an example that needs an internal package": {
			files: map[string]string{
				"internal/in/in.go":    "package in\n",
				"example_flow_test.go": strings.Replace(pipe()["example_flow_test.go"], "import (", "import (\n\t_ \"example.com/pipe/internal/in\"", 1),
			},
			wants: []string{"example.com/pipe: go test", "use of internal package"},
		},
		"an example of a nested module that fails": {
			files: map[string]string{
				"wire/README.md": "```go\nfunc Example() { // Output: nothing\n}\n```\n",
				"wire/example_test.go": "package wire_test\n\nimport \"fmt\"\n\nfunc init() { fmt.Print() }\n\n" +
					"func Example() { // Output: nothing\n}\n",
			},
			wants: []string{"example.com/pipe/wire: go test", "--- FAIL: Example"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := pipe()
			maps.Copy(files, test.files)
			maps.DeleteFunc(files, func(_, content string) bool { return content == "" })
			c := newCommand(t, files)
			if test.edit != nil {
				test.edit(&c)
			}
			wantError(t, c, test.wants...)
		})
	}
}

func TestVersion(t *testing.T) {
	for _, version := range []string{"", "0.1.0", "v1", "v0.1", "v0.1.0+build", "v01.0.0", "latest", "v0.1.0 v0.2.0"} {
		wantError(t, command{repo: t.TempDir(), version: version}, "VERSION is", "v0.1.0")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	c := newCommand(t, pipe())
	c.version, c.write = "v0.3.0-rc.1", true
	writeFile(t, filepath.Join(c.repo, "new/go.mod"), "module example.com/pipe/new\n\ngo 1.25\n\nrequire example.com/pipe v0.2.0\n")
	if err := c.run(io.Discard); err != nil {
		t.Fatal(err)
	}
	for name, before := range pipe() {
		after, err := os.ReadFile(filepath.Join(c.repo, name))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.ReplaceAll(before, "v0.0.0", "v0.3.0-rc.1"); string(after) != want {
			t.Errorf("%s is:\n%swant:\n%s", name, after, want)
		}
	}
	added, err := os.ReadFile(filepath.Join(c.repo, "new/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(added), "example.com/pipe v0.3.0-rc.1") {
		t.Errorf("a new module is not written:\n%s", added)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	files := pipe()
	files["wire/go.mod"] = strings.Replace(files["wire/go.mod"], "pipe/wire", "Pipe/wire", 1)
	c := newCommand(t, files)
	mods, err := findModules(c.repo)
	if err != nil {
		t.Fatal(err)
	}
	proxy := t.TempDir()
	for _, m := range mods {
		if err := m.publish(proxy, "v0.3.0-RC1", filepath.Join(c.repo, "LICENSE")); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]map[string]string{
		"example.com/pipe": {
			"LICENSE": files["LICENSE"], "README.md": files["README.md"], "go.mod": files["go.mod"], "pipe.go": files["pipe.go"],
			"example_flow_test.go": files["example_flow_test.go"], "example_other_test.go": files["example_other_test.go"], "helper_test.go": files["helper_test.go"],
		},
		"example.com/Pipe/wire":      {"LICENSE": files["LICENSE"], "go.mod": files["wire/go.mod"], "wire.go": files["wire/wire.go"]},
		"example.com/pipe/wire/deep": {"LICENSE": files["wire/deep/LICENSE"], "go.mod": files["wire/deep/go.mod"], "deep.go": files["wire/deep/deep.go"]},
	} {
		dir := filepath.Join(proxy, strings.ReplaceAll(path, "P", "!p"), "@v")
		for name, want := range map[string]string{
			"list": "v0.3.0-RC1\n", "v0.3.0-!r!c1.info": `{"Version":"v0.3.0-RC1"}`, "v0.3.0-!r!c1.mod": want["go.mod"],
		} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want || err != nil {
				t.Errorf("%s of %s is %q (%v), want %q", name, path, got, err, want)
			}
		}
		got := unzip(t, filepath.Join(dir, "v0.3.0-!r!c1.zip"))
		names := slices.Sorted(maps.Keys(got))
		for name, content := range want {
			if inside := path + "@v0.3.0-RC1/" + name; got[inside] != content {
				t.Errorf("%s of %s is %q, want %q", name, path, got[inside], content)
			}
		}
		if len(names) != len(want) {
			t.Errorf("the zip of %s holds %q, want %d files", path, names, len(want))
		}
	}
}

func unzip(t *testing.T, name string) map[string]string {
	t.Helper()
	archive, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string]string{}
	for _, file := range archive.File {
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[file.Name] = string(content)
	}
	return files
}
