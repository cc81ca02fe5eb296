package bolt_test

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/conduitio/funnel/position/bolt"
)

// TestOpen_interrupted has another process make the database where files can have only a part
// of its size, as on a full disk. What that leaves does not keep Open from its work.
func TestOpen_interrupted(t *testing.T) {
	const env, limit = "FUNNEL_TEST_BOLT_LIMITED", 9000
	if path := os.Getenv(env); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.Open(path); err == nil {
			t.Error("the database fits into the limit")
		}
		return
	}
	path := filepath.Join(t.TempDir(), "db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestOpen_interrupted$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), env+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	save(t, claim(t, open(t, path), "orders"), "1")
}
