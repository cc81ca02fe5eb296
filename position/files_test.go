package position_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/disk/disktest"
	"github.com/conduitio/funnel/internal/positionfs"
	"github.com/conduitio/funnel/position"
)

func newFiles(t testing.TB, dir string) *position.Files {
	t.Helper()
	s, err := position.NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claim(t testing.TB, s position.Store, id string) position.Claim {
	t.Helper()
	c, err := s.Claim(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Release(ctx) })
	return c
}

func save(t testing.TB, c position.Claim, positions ...string) {
	t.Helper()
	for _, p := range positions {
		if err := c.Save(ctx, opencdc.Position(p)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantPosition(t testing.TB, c position.Claim, want string) {
	t.Helper()
	if got, err := c.Load(ctx); err != nil || string(got) != want {
		t.Errorf("loaded %s, %v; want %s", short(string(got)), err, short(want))
	}
}

// savedFile makes a file with the positions, and returns its name.
func savedFile(t testing.TB, dir, id string, positions ...string) string {
	t.Helper()
	c := claim(t, newFiles(t, dir), id)
	save(t, c, positions...)
	if err := c.Release(ctx); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("there are %d files, %v", len(entries), err)
	}
	return filepath.Join(dir, entries[0].Name())
}

func TestNewFiles_arguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dir  string
		opt  position.FilesOption
		want string
	}{
		{"", position.WithFileMode(0o600), "directory of the positions is missing"},
		{file, position.WithFileMode(0o600), "a file is in the way"},
		{t.TempDir(), nil, "option 0 is nil"},
		{t.TempDir(), position.WithFileMode(0o400), "mode -r--------"},
		{t.TempDir(), position.WithFileMode(os.ModeDir | 0o700), "mode drwx------"},
	} {
		if s, err := position.NewFiles(test.dir, test.opt); s != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want an error that says %q", test.dir, err, test.want)
		}
	}
}

func TestFiles_names(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := newFiles(t, dir)
	isSafe := regexp.MustCompile(`^[a-z0-9_%~-]+\.position$`).MatchString
	ids := []string{"orders", "Orders", "", ".", "..", "../../etc", "/", "a\x00b", "%", strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("/", 10_000)}
	for _, id := range ids {
		claim(t, s, id)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(ids) {
		t.Fatalf("%d files for %d sources, %v", len(entries), len(ids), err)
	}
	for _, entry := range entries {
		if name := entry.Name(); !isSafe(name) || len(name) > 150 {
			t.Errorf("the name %q has %d bytes", name, len(name))
		}
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("the mode of %s is %v, %v", entry.Name(), info.Mode(), err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "orders.position")); err != nil {
		t.Error(err)
	}
	if others, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(others) != 1 {
		t.Errorf("beside the directory there are %v, %v", others, err)
	}
}

// TestFiles_damage changes each byte of a file, or its length. A claim then finds one of the
// two last positions, or fails with an error that names the file. It never starts anew.
func TestFiles_damage(t *testing.T) {
	dir := t.TempDir()
	name := savedFile(t, dir, "orders", "first", "second")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, content []byte, allowed ...string) {
		t.Helper()
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := newFiles(t, dir).Claim(ctx, "orders")
		if err != nil {
			if len(allowed) > 0 && allowed[0] == "second" {
				t.Errorf("%s: %v", what, err)
			}
			if !errors.Is(err, position.ErrDamaged) || !strings.Contains(err.Error(), name) || !funnel.IsFatalError(err) {
				t.Errorf("%s: the error is %v", what, err)
			}
			return
		}
		got, _ := c.Load(ctx)
		if !strings.Contains(strings.Join(allowed, " "), string(got)) || len(got) == 0 {
			t.Errorf("%s: loaded %q", what, got)
		}
		_ = c.Release(ctx)
	}
	check("as it was", content, "second")
	for i := 0; i < len(content); i++ {
		changed := bytes.Clone(content)
		changed[i] ^= 0x40
		switch {
		case i < 8+12+len("orders")+32: // the header
			check(fmt.Sprint("byte ", i), changed)
		case i%4096 > 80 && i%509 != 0: // zeros, of which some are enough
		default:
			check(fmt.Sprint("byte ", i), changed, "first second")
		}
	}
	both := bytes.Clone(content)
	both[4096+17] ^= 1
	both[8192+17] ^= 1
	check("both slots", both)
	twice := bytes.Clone(content)
	copy(twice[4096:8192], twice[8192:])
	check("one slot twice", twice)
	check("empty", nil)
	for _, n := range []int{1, 100, 4095, 4096, 8192, len(content) - 1} {
		check(fmt.Sprint("cut to ", n), content[:n])
	}
	check("longer", append(bytes.Clone(content), 0))
	check("zeros", make([]byte, len(content)))
	check("text", []byte(strings.Repeat("a line\n", 1000)))
}

func TestFiles_newerVersion(t *testing.T) {
	dir := t.TempDir()
	name := savedFile(t, dir, "orders", "1")
	content, err := os.ReadFile(name)
	must(t, err)
	end := 8 + 12 + len("orders")
	content[8]++
	sum := sha256.Sum256(content[:end])
	copy(content[end:], sum[:])
	must(t, os.WriteFile(name, content, 0o600))
	_, err = newFiles(t, dir).Claim(ctx, "orders")
	if !errors.Is(err, position.ErrDamaged) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("the error is %v", err)
	}
}

// TestFiles_distrust writes no more to a file after a write or a sync has failed.
func TestFiles_distrust(t *testing.T) {
	for _, kind := range []disktest.Kind{disktest.Write, disktest.Sync} {
		dir := t.TempDir()
		fsys := disktest.New(t, dir)
		s, err := position.NewFiles(dir, positionfs.With(fsys))
		must(t, err)
		c := claim(t, s, "orders")
		fsys.SetHook(func(c disktest.Call) error {
			if c.Kind == kind {
				return errInjected
			}
			return nil
		})
		if err := c.Save(ctx, opencdc.Position("1")); !errors.Is(err, errInjected) {
			t.Errorf("Save returned %v", err)
		}
		wantPosition(t, c, "")
		fsys.SetHook(nil)
		before := len(fsys.Calls())
		save(t, c, "2", "3")
		renames := 0
		for _, call := range fsys.Calls()[before:] {
			if call.Kind == disktest.Rename {
				renames++
			} else if call.Kind == disktest.Write && renames == 0 && call.Name == "orders.position" {
				t.Errorf("after a failed %s: %s", kind, call)
			}
		}
		if renames != 1 {
			t.Errorf("after a failed %s the file was replaced %d times", kind, renames)
		}
	}
}

// TestFiles_renameReportsAnError has the rename happen all the same. The claim then holds
// the new file.
func TestFiles_renameReportsAnError(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	s, err := position.NewFiles(dir, positionfs.With(fsys))
	must(t, err)
	c := claim(t, s, "orders")
	fsys.SetHook(func(c disktest.Call) error {
		if c.Kind == disktest.Rename {
			return disktest.Anyway(errInjected)
		}
		return nil
	})
	if err := c.Save(ctx, opencdc.Position(longOne)); !errors.Is(err, errInjected) {
		t.Errorf("Save returned %v", err)
	}
	fsys.SetHook(nil)
	if _, err := newFiles(t, dir).Claim(ctx, "orders"); !errors.Is(err, position.ErrClaimed) {
		t.Errorf("another claim returned %v", err)
	}
	save(t, c, "2")
	wantPosition(t, c, "2")
}

// TestFiles_replacedFileIsLocked claims a file that was replaced by one with longer slots.
func TestFiles_replacedFileIsLocked(t *testing.T) {
	s := newFiles(t, t.TempDir())
	c := claim(t, s, "orders")
	for _, p := range []string{"1", longOne, "2"} {
		save(t, c, p)
		if _, err := s.Claim(ctx, "orders"); !errors.Is(err, position.ErrClaimed) {
			t.Errorf("another claim returned %v", err)
		}
	}
}

// TestFiles_fileChangesDuringClaim lets another process be faster, just before a call.
func TestFiles_fileChangesDuringClaim(t *testing.T) {
	for _, test := range []struct {
		name     string
		isThere  bool // before the claim
		before   disktest.Kind
		released bool // by the other one
	}{
		{"replaced and claimed", true, disktest.Lock, false},
		{"replaced and released", true, disktest.Lock, true},
		{"made and claimed, from the same file", false, disktest.Lock, false},
		{"made and released, from the same file", false, disktest.Lock, true},
		{"made and claimed", false, disktest.Open, false},
		{"made and released", false, disktest.Open, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			other := newFiles(t, dir)
			use := func(isReleased bool, positions ...string) {
				c := claim(t, other, "orders")
				save(t, c, positions...)
				if isReleased {
					must(t, c.Release(ctx))
				}
			}
			if test.isThere {
				use(true, "1")
			}
			fsys := disktest.New(t, dir)
			isFirst := true
			fsys.SetHook(func(c disktest.Call) error {
				if c.Kind == test.before && isFirst && (c.Created || c.Kind == disktest.Lock) {
					isFirst = false
					use(test.released, longOne, "2")
				}
				return nil
			})
			s, err := position.NewFiles(dir, positionfs.With(fsys))
			must(t, err)
			c, err := s.Claim(ctx, "orders")
			if !test.released {
				if !errors.Is(err, position.ErrClaimed) {
					t.Errorf("the claim returned %v", err)
				}
				return
			}
			must(t, err)
			wantPosition(t, c, "2")
			must(t, c.Release(ctx))
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("the directory holds %v, %v", entries, err)
			}
		})
	}
}

func TestFiles_foreignFile(t *testing.T) {
	dir := t.TempDir()
	name := savedFile(t, dir, "orders", "1")
	if err := os.Rename(name, filepath.Join(dir, "items.position")); err != nil {
		t.Fatal(err)
	}
	_, err := newFiles(t, dir).Claim(ctx, "items")
	if !errors.Is(err, position.ErrDamaged) || !strings.Contains(err.Error(), `belongs to source "orders"`) {
		t.Errorf("the error is %v", err)
	}
}

func TestFiles_fenced(t *testing.T) {
	for what, do := range map[string]func(name string) error{
		"removed": os.Remove,
		"renamed": func(name string) error { return os.Rename(name, name+".old") },
		"replaced": func(name string) error {
			content, err := os.ReadFile(name)
			return errors.Join(err, os.WriteFile(name+".copy", content, 0o600), os.Rename(name+".copy", name))
		},
		"replaced by a directory": func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
		"moved away with the directory": func(name string) error {
			return os.Rename(filepath.Dir(name), filepath.Dir(name)+"2")
		},
	} {
		for _, next := range []string{"2", longOne} {
			t.Run(fmt.Sprint(what, len(next)), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "positions")
				c := claim(t, newFiles(t, dir), "orders")
				save(t, c, "1")
				if err := do(filepath.Join(dir, "orders.position")); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := c.Save(ctx, opencdc.Position(next)); !errors.Is(err, position.ErrFenced) {
						t.Errorf("Save returned %v", err)
					}
				}
				if _, err := c.Load(ctx); !errors.Is(err, position.ErrFenced) {
					t.Errorf("Load returned %v", err)
				}
				if err := c.Release(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestFiles_leftovers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"orders.position.new", "orders.position.next"} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("junk"), 10_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := claim(t, newFiles(t, dir), "orders")
	wantPosition(t, c, "")
	save(t, c, longOne)
	if err := c.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "orders.position.next"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantPosition(t, claim(t, newFiles(t, dir), "orders"), longOne)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

func TestFiles_tooLong(t *testing.T) {
	c := claim(t, newFiles(t, t.TempDir()), "orders")
	save(t, c, "1")
	if err := c.Save(ctx, make(opencdc.Position, 64<<20)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("the error is %v", err)
	}
	save(t, c, "2")
	wantPosition(t, c, "2")
}

// TestFiles_killed claims in another process, and kills it.
func TestFiles_killed(t *testing.T) {
	const env = "FUNNEL_TEST_POSITIONS"
	if dir := os.Getenv(env); dir != "" {
		c := claim(t, newFiles(t, dir), "orders")
		for i := 1; ; i++ {
			save(t, c, fmt.Sprint(i))
			fmt.Println("saved", i)
		}
	}
	dir := t.TempDir()
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFiles_killed$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), env+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		last, lines := 0, bufio.NewScanner(out)
		for last < 20 && lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "saved %d", &last)
		}
		if _, err := newFiles(t, dir).Claim(ctx, "orders"); !errors.Is(err, position.ErrClaimed) {
			t.Errorf("while the other process has the claim: %v", err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "saved %d", &last)
		}
		_ = cmd.Wait()
		c := claim(t, newFiles(t, dir), "orders")
		got, err := c.Load(ctx)
		if text := string(got); err != nil || text != fmt.Sprint(last) && text != fmt.Sprint(last+1) {
			t.Errorf("loaded %q, %v, and the other process has saved %d", got, err, last)
		}
		if err := c.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFiles_saveAllocates(t *testing.T) {
	c := claim(t, newFiles(t, t.TempDir()), "orders")
	p := opencdc.Position("0000-0000-0000-0001")
	if n := testing.AllocsPerRun(50, func() {
		if err := c.Save(ctx, p); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("a save allocates %v times", n)
	}
}

// BenchmarkFiles compares a save with the sync in it.
func BenchmarkFiles(b *testing.B) {
	for _, size := range []int{20, 1000, 4000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := claim(b, newFiles(b, b.TempDir()), "orders")
			p := make(opencdc.Position, size)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p[0] = byte(i)
				if err := c.Save(ctx, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemory is a store that does nothing but remember.
func BenchmarkMemory(b *testing.B) {
	c := claim(b, position.NewMemory(), "orders")
	p := make(opencdc.Position, 20)
	for b.Loop() {
		if err := c.Save(ctx, p); err != nil {
			b.Fatal(err)
		}
	}
}
