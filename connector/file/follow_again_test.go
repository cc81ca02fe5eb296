package file

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

// hookContext calls a function each time that its end is asked for.
type hookContext struct {
	context.Context
	asked func()
}

func (c hookContext) Err() error {
	c.asked()
	return c.Context.Err()
}

// A file that is truncated while another one is compared with it, whenever that is, does not
// take the other one with it: here, a copy that was written to an open file and deleted.
func TestLook_truncatedMeanwhile(t *testing.T) {
	var content strings.Builder
	for i := range 2000 {
		content.WriteString(strconv.Itoa(i) + "\n")
	}
	isDone := false
	for at := 1; !isDone; at++ {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			log, copied := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
			write := func(name, content string) {
				if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(log, content.String()[:5000])
			write(copied, "")
			config, err := newSourceConfig(Lines, []SourceOption{WithFollow(), WithoutNotifications()})
			if err != nil {
				t.Fatal(err)
			}
			files, err := place.Find(dir, ".")
			if err != nil {
				t.Fatal(err)
			}
			s := newSession(config, Lines, files, readState{format: Lines}, func(SourceStats, uint64, bool) {})
			defer func() { _ = s.Close() }()
			if err := s.open(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			read := func(ctx context.Context) {
				for {
					recs, err := s.Read(ctx)
					for _, rec := range recs {
						got = append(got, string(rec.Payload.After.Bytes()))
					}
					if life.Ended(ctx) != nil {
						return
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			readFor := func(period time.Duration) {
				ctx, cancel := context.WithTimeout(t.Context(), period)
				defer cancel()
				read(ctx)
			}
			readFor(3 * time.Second)
			write(log, content.String())
			write(copied, content.String())
			if err := os.Remove(copied); err != nil {
				t.Fatal(err)
			}
			asked := 0
			err = s.look(hookContext{t.Context(), func() {
				if asked++; asked == at {
					_ = os.Truncate(log, 0)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			isDone = asked < at
			readFor(time.Minute)
			if strings.Join(got, "\n")+"\n" != content.String() {
				t.Errorf("truncated when the end was asked for the %dth time: got %d records", at, len(got))
			}
			if s.stats.BytesVanished > 0 {
				t.Errorf("truncated when the end was asked for the %dth time: %d bytes vanished", at, s.stats.BytesVanished)
			}
		})
	}
}
