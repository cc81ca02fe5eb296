package file_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/conduitio/funnel/connector/file"
)

// When a Read ends in the middle of a look, the next one goes on there: a file that the look
// has found is still the one that later copies are compared with.
func TestFollow_interruptedLook(t *testing.T) {
	const content = "n\n1\n2\n3\n"
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path, copied := write(t, dir, "log", content), filepath.Join(dir, "log.1")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		f := follow(t, dir, file.CSV, nil, file.WithLooks(func() {
			if _, err := os.Stat(copied); err == nil {
				cancel()
			}
		}))
		defer f.close()
		f.want("map[n:1]", "map[n:2]", "map[n:3]")
		copyTruncate(t, path, copied)
		if recs, err := f.s.Read(ctx); len(recs) > 0 || ctx.Err() == nil {
			t.Fatalf("the look was not interrupted: %q, %v", texts(recs), err)
		}
		write(t, dir, "log.1.gz", gzipped(t, content))
		must(t, os.Remove(copied))
		f.want()
	})
}
