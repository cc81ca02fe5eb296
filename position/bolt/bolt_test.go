package bolt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"go.etcd.io/bbolt"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/storetest"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/position/bolt"
)

var ctx = context.Background()

func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func claim(t testing.TB, s position.Store, id string) position.Claim {
	t.Helper()
	c, err := s.Claim(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func save(t testing.TB, c position.Claim, p string) {
	t.Helper()
	if err := c.Save(ctx, opencdc.Position(p)); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, c position.Claim, p string) {
	t.Helper()
	if got, err := c.Load(ctx); err != nil || string(got) != p {
		t.Errorf("loaded %q, %v, want %q", got, err, p)
	}
}

func TestStore(t *testing.T) {
	paths := make(map[position.Store]string)
	reopened := func(t testing.TB, path string) position.Store {
		s := open(t, path)
		paths[s] = path
		return s
	}
	storetest.Test(t, storetest.Conformance{
		New: func(t testing.TB) position.Store { return reopened(t, filepath.Join(t.TempDir(), "db")) },
		Reopen: func(t testing.TB, old position.Store) position.Store {
			if err := old.(*bolt.Store).Close(); err != nil {
				t.Fatal(err)
			}
			return reopened(t, paths[old])
		},
	})
}

func TestOpen_arguments(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, want string
		opt        bolt.Option
	}{
		{"", "path of the database is missing", bolt.WithTimeout(1)},
		{filepath.Join(dir, "db"), "timeout 0s", bolt.WithTimeout(0)},
		{filepath.Join(dir, "db"), "option 0 is nil", nil},
		{filepath.Join(text, "db"), filepath.Join(text, "db"), bolt.WithTimeout(1)},
		{text, text, bolt.WithTimeout(1)},
	} {
		s, err := bolt.Open(test.path, test.opt)
		if s != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open(%q) returned %v, want an error that says %q", test.path, err, test.want)
		}
		if isText := test.path == text; errors.Is(err, position.ErrDamaged) != isText || funnel.IsFatalError(err) != isText {
			t.Errorf("Open(%q) returned %v", test.path, err)
		}
	}
}

func TestNew_database(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := bolt.New(db)
	if err != nil {
		t.Fatal(err)
	}
	old := claim(t, first, "orders")
	save(t, old, "1")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := bolt.New(db)
	if err != nil {
		t.Fatalf("Close has closed the database of the host: %v", err)
	}
	want(t, claim(t, second, "orders"), "1")

	db.NoSync = true
	if _, err := bolt.New(db); err == nil || !strings.Contains(err.Error(), "does not sync") {
		t.Errorf("without syncs: %v", err)
	}
	if _, err := bolt.New(nil); err == nil || !strings.Contains(err.Error(), "nil") {
		t.Errorf("without a database: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := bolt.New(db); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("with a read-only database: %v", err)
	}
}

func TestClaim_takenOver(t *testing.T) {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var claims []position.Claim
	for range 2 {
		s, err := bolt.New(db)
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, claim(t, s, "orders"))
		save(t, claims[len(claims)-1], fmt.Sprint(len(claims)))
	}
	if err := claims[0].Save(ctx, opencdc.Position("3")); !errors.Is(err, position.ErrFenced) {
		t.Errorf("Save of the first claim returned %v", err)
	}
	if _, err := claims[0].Load(ctx); !errors.Is(err, position.ErrFenced) {
		t.Errorf("Load of the first claim returned %v", err)
	}
	want(t, claims[1], "2")

	remove := func(name string) {
		t.Helper()
		if err := db.Update(func(tx *bbolt.Tx) error {
			if name == "" {
				return tx.DeleteBucket([]byte("funnel.positions"))
			}
			return tx.Bucket([]byte("funnel.positions")).Delete([]byte(name))
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"=orders", ""} {
		remove(name)
		if err := claims[1].Save(ctx, opencdc.Position("4")); !errors.Is(err, position.ErrFenced) {
			t.Errorf("after %q was removed: %v", name, err)
		}
	}
}

func TestClaim_damaged(t *testing.T) {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := bolt.New(db)
	if err != nil {
		t.Fatal(err)
	}
	for i, value := range []string{"", "short", "\x02" + strings.Repeat("0", 20)} {
		id := fmt.Sprint("source ", i)
		if err := db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("funnel.positions")).Put([]byte("="+id), []byte(value))
		}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the failed claim leaves nothing claimed
			_, err := s.Claim(ctx, id)
			if !errors.Is(err, position.ErrDamaged) || !funnel.IsFatalError(err) || !strings.Contains(err.Error(), db.Path()) {
				t.Errorf("value %q: %v", value, err)
			}
		}
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.Bucket([]byte("funnel.positions")).CreateBucket([]byte("=orders"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim(ctx, "orders"); !errors.Is(err, position.ErrDamaged) {
		t.Errorf("a bucket in the place of a position: %v", err)
	}
}

func TestClose_fencesClaims(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	c := claim(t, s, "orders")
	save(t, c, "1")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Save(ctx, opencdc.Position("2")); !errors.Is(err, position.ErrFenced) {
		t.Errorf("Save returned %v", err)
	}
	if _, err := c.Load(ctx); !errors.Is(err, position.ErrFenced) {
		t.Errorf("Load returned %v", err)
	}
	if _, err := s.Claim(ctx, "orders"); err == nil {
		t.Error("a closed store was claimed")
	}
	if err := c.Release(ctx); err != nil {
		t.Error(err)
	}
	want(t, claim(t, open(t, path), "orders"), "1")
}

// bbolt goes on with a file that was removed or replaced.
func TestClaim_fileRemoved(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "some/where/db") // the directories are made, too
	c := claim(t, s, "orders")
	save(t, c, "1")
	if err := os.Chdir("some"); err != nil {
		t.Fatal(err)
	}
	save(t, c, "2")
	for _, replace := range []func() error{
		func() error { return os.Rename("where/db", "where/old") },
		func() error { return os.WriteFile("where/db", nil, 0o600) },
	} {
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(ctx, opencdc.Position("3")); !errors.Is(err, position.ErrFenced) {
			t.Errorf("Save returned %v", err)
		}
	}
}

func TestClaim_databaseClosedByHost(t *testing.T) {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := bolt.New(db)
	if err != nil {
		t.Fatal(err)
	}
	c := claim(t, s, "orders")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(ctx, opencdc.Position("1")); !errors.Is(err, position.ErrFenced) {
		t.Errorf("Save returned %v", err)
	}
	if _, err := c.Load(ctx); !errors.Is(err, position.ErrFenced) {
		t.Errorf("Load returned %v", err)
	}
}

// Open makes a missing database as a whole: several calls at a time make one of them, and leave
// nothing else behind.
func TestOpen_missing(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		path := filepath.Join(dir, "db")
		stores := make(chan *bolt.Store, 4)
		var calls sync.WaitGroup
		for range cap(stores) {
			calls.Go(func() {
				s, err := bolt.Open(path, bolt.WithTimeout(time.Millisecond))
				if err == nil {
					stores <- s
				} else if !errors.Is(err, position.ErrClaimed) {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		close(stores)
		n := 0
		for s := range stores {
			n++
			save(t, claim(t, s, "orders"), "1")
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Fatalf("%d of the calls have opened the database at the same time", n)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("the directory holds %v, %v", files, err)
		}
	}
}

// TestOpen_killed has the file open in another process, and kills it.
func TestOpen_killed(t *testing.T) {
	const env = "FUNNEL_TEST_BOLT"
	if path := os.Getenv(env); path != "" {
		c := claim(t, open(t, path), "orders")
		for i := 1; ; i++ {
			save(t, c, fmt.Sprint(i))
			fmt.Println("saved", i)
		}
	}
	path := filepath.Join(t.TempDir(), "db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestOpen_killed$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), env+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	last, lines := 0, bufio.NewScanner(out)
	for last < 10 && lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "saved %d", &last)
	}
	if _, err := bolt.Open(path, bolt.WithTimeout(time.Millisecond)); !errors.Is(err, position.ErrClaimed) || !strings.Contains(err.Error(), path) {
		t.Errorf("while another process has the file open: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "saved %d", &last)
	}
	_ = cmd.Wait()
	got, err := claim(t, open(t, path), "orders").Load(ctx)
	if text := string(got); err != nil || text != fmt.Sprint(last) && text != fmt.Sprint(last+1) {
		t.Errorf("loaded %q, %v, and the other process has saved %d", got, err, last)
	}
}

func BenchmarkSave(b *testing.B) {
	c := claim(b, open(b, filepath.Join(b.TempDir(), "db")), "orders")
	p := make(opencdc.Position, 20)
	for i := 0; b.Loop(); i++ {
		p[0] = byte(i)
		if err := c.Save(ctx, p); err != nil {
			b.Fatal(err)
		}
	}
}
