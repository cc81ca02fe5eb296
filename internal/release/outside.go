package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// outsideEnv returns the environment for go commands that get the modules below top
// from proxy, and others from the module cache of the user or from where they always
// come from. Checksums of the others are verified.
func outsideEnv(proxy, top string) ([]string, error) {
	output, err := execute("", nil, "go", "env", "GOPROXY", "GOMODCACHE", "GONOSUMDB", "GOFLAGS")
	if err != nil {
		return nil, err
	}
	user := strings.Split(output, "\n")
	return append(os.Environ(),
		"GOPROXY=file://"+proxy+",file://"+user[1]+"/cache/download,"+user[0],
		"GONOPROXY=none", // GOPRIVATE would bypass the proxy
		"GONOSUMDB="+top+","+user[2],
		// With -trimpath the build cache does not depend on the module cache.
		"GOFLAGS="+user[3]+" -mod=mod -modcacherw -trimpath",
		"GOWORK=off",
	), nil
}

// use gets a module from a new one in dir, builds its packages and runs the examples
// that its README.md shows.
func (m mod) use(dir string, env []string, version string) (report string, err error) {
	// What go.sum verifies is not looked up in the checksum database, so the check needs
	// no network if the module cache has everything. A module may have no go.sum.
	sums, _ := os.ReadFile(filepath.Join(filepath.Dir(m.gomod), "go.sum"))
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644)); err != nil {
		return "", err
	}
	// Another module cache could hold older content of the same version. It also hides
	// nested modules of what it holds from "go get", if there is a GONOPROXY.
	env = append(env, "GOMODCACHE="+filepath.Join(dir, "modcache"))
	var output string
	for _, args := range [][]string{
		{"mod", "init", "example.com/outside"},
		{"get", m.path + "@" + version},
		{"build", "-o", os.DevNull, m.path + "/..."},
		{"list", m.path + "/..."},
	} {
		if output, err = execute(dir, env, "go", args...); err != nil {
			return "", err
		}
	}
	packages := len(strings.Fields(output))
	if packages == 0 {
		return "", errors.New("it has no packages")
	}
	copied, err := m.copyExamples(dir)
	if err != nil || !copied {
		return fmt.Sprintf("%d packages build", packages), err
	}
	output, err = execute(dir, env, "go", "test", "-v", "-vet=off", "-run", "^Example", ".")
	ran := strings.Count(output, "--- PASS: Example")
	if err == nil && ran == 0 {
		err = fmt.Errorf("no example of README.md ran:\n%s", output)
	}
	return fmt.Sprintf("%d packages build, %d examples of README.md run", packages, ran), err
}

// copyExamples copies the files of examples of which README.md shows a function. The
// README.md at the top must show one.
func (m mod) copyExamples(to string) (copied bool, err error) {
	readme, _ := os.ReadFile(filepath.Join(filepath.Dir(m.gomod), "README.md"))
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(m.gomod), "example*_test.go"))
	for _, block := range strings.Split(string(readme), "```go\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, file := range files {
			code, readErr := os.ReadFile(file)
			err = errors.Join(err, readErr)
			if strings.Contains(block, "func ") && strings.Contains(string(code), block) {
				copied = true
				err = errors.Join(err, os.WriteFile(filepath.Join(to, filepath.Base(file)), code, 0o644))
			}
		}
	}
	if m.dir == "." && !copied {
		err = errors.Join(err, errors.New("README.md shows no function of an example*_test.go"))
	}
	return copied, err
}
