package position_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/disk/disktest"
	"github.com/conduitio/funnel/internal/positionfs"
	"github.com/conduitio/funnel/position"
)

var ctx = context.Background()

// promise is a note about a position: that a save of it begins, or that it has returned nil.
// Without a position, isSaved means that the claim has found nothing.
type promise struct {
	position string
	isSaved  bool
}

// session claims a source and saves positions. It notes what it is promised.
func session(fsys *disktest.FS, dir string, positions ...string) (err error) {
	store, err := position.NewFiles(dir, positionfs.With(fsys))
	if err != nil {
		return err
	}
	c, err := store.Claim(ctx, "orders")
	if err != nil {
		return err
	}
	defer func() {
		if e := c.Release(ctx); e != nil {
			err = errors.Join(err, e, c.Release(ctx))
		}
	}()
	loaded, err := c.Load(ctx)
	if err != nil {
		return err
	}
	fsys.Note(promise{string(loaded), true})
	for _, p := range positions {
		fsys.Note(promise{p, false})
		if e := c.Save(ctx, opencdc.Position(p)); e != nil {
			err = errors.Join(err, e)
			continue
		}
		fsys.Note(promise{p, true})
	}
	return err
}

// allowed returns what may be loaded after a crash: what was saved last, and what was tried
// after that.
func allowed(notes []any) []string {
	all := []string{""}
	for _, note := range notes {
		switch p := note.(type) {
		case promise:
			if p.isSaved {
				all = nil
			}
			all = append(all, p.position)
		}
	}
	return all
}

// load returns what a new process finds. The FS that it was loaded through is returned too.
func load(t testing.TB, dir string) (string, *disktest.FS, error) {
	fsys := disktest.New(t, dir)
	err := session(fsys, dir+"/positions")
	for _, call := range fsys.Calls() {
		if p, ok := call.Note.(promise); ok {
			return p.position, fsys, err
		}
	}
	return "", fsys, err
}

// checkCrashes checks what is loaded after each possible crash.
func checkCrashes(t *testing.T, fsys *disktest.FS, states int) (n int) {
	t.Helper()
	for crash := range fsys.Crashes(t, disktest.Sample{States: states}) {
		n++
		got, again, err := load(t, crash.Dir)
		if want := allowed(crash.Notes); err != nil || !slices.Contains(want, got) {
			t.Fatalf("loaded %s, %v; want one of %s\nafter %s", short(got), err, shorts(want), crash)
		}
		if n%20 != 0 {
			continue
		}
		// The source has begun at this position. It must be there after another crash too.
		for second := range again.Crashes(t, disktest.Sample{States: 16}) {
			if len(second.Notes) == 0 {
				continue
			}
			if twice, _, err := load(t, second.Dir); err != nil || twice != got {
				t.Fatalf("loaded %s, and after another crash %s, %v\nafter %s\nand then %s", short(got), short(twice), err, crash, second)
			}
		}
	}
	return n
}

func shorts(all []string) []string {
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = short(s)
	}
	return texts
}

func short(s string) string {
	if len(s) > 20 {
		return fmt.Sprintf("%q... (%d bytes)", s[:20], len(s))
	}
	return fmt.Sprintf("%q", s)
}

var (
	twoSectors = "two sectors " + strings.Repeat("2", 600)
	longOne    = "long " + strings.Repeat("l", 5000)
	longOther  = "other " + strings.Repeat("o", 6000)
)

func TestFiles_crashes(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	for _, positions := range [][]string{
		nil, {"1"}, {"2", twoSectors, "3"}, {longOne, "4", longOther}, {"5", "6"},
	} {
		if err := session(fsys, dir+"/positions", positions...); err != nil {
			t.Fatal(err)
		}
	}
	n := checkCrashes(t, fsys, 128)
	t.Logf("%d states", n)
}

var errInjected = errors.New("injected")

// TestFiles_faults lets each call of two sessions fail, in each way, and crashes in each
// state that this can leave.
func TestFiles_faults(t *testing.T) {
	faults := map[string]func(disktest.Call) error{
		"fails":         func(disktest.Call) error { return errInjected },
		"fails in part": func(c disktest.Call) error { return disktest.Partly(int(c.Length/2), errInjected) },
		"happens and reports an error": func(disktest.Call) error {
			return disktest.Anyway(errInjected)
		},
	}
	sessions := func(fsys *disktest.FS, dir string) (one, two error) {
		one = session(fsys, dir+"/positions", "1", twoSectors, longOne, "2")
		two = session(fsys, dir+"/positions", "3", "4")
		return one, two
	}
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	if one, two := sessions(fsys, dir); one != nil || two != nil {
		t.Fatal(one, two)
	}
	calls := len(fsys.Calls()) // a few less, because of the notes
	for how, fault := range faults {
		for failing := range calls {
			t.Run(fmt.Sprintf("call %d %s", failing, how), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				fsys := disktest.New(t, dir)
				i := 0
				fsys.SetHook(func(c disktest.Call) error {
					i++
					if i-1 == failing {
						return fault(c)
					}
					return nil
				})
				one, two := sessions(fsys, dir)
				if err := errors.Join(one, two); err != nil && !errors.Is(err, errInjected) {
					t.Errorf("the error is %v", err)
				}
				if one != nil && two != nil {
					t.Errorf("one call has failed, but both sessions have: %v, %v", one, two)
				}
				fsys.SetHook(nil)
				if got, _, err := load(t, dir); err != nil || two == nil && got != "4" {
					t.Errorf("loaded %s, %v", short(got), err)
				}
				checkCrashes(t, fsys, 4)
			})
		}
	}
}

func TestFiles_fullDisk(t *testing.T) {
	// A file of a source has 12 KiB; one with longer slots 20 KiB.
	for _, free := range []int64{0, 1, 4096, 12<<10 - 1, 12 << 10, 12<<10 + 1, 30 << 10, 32<<10 - 1} {
		t.Run(fmt.Sprint(free), func(t *testing.T) {
			dir := t.TempDir()
			fsys := disktest.New(t, dir)
			fsys.SetHook(disktest.Full(free))
			err := session(fsys, dir+"/positions", "1", "2", longOne, "3")
			if err == nil {
				t.Error("nothing has failed")
			}
			checkCrashes(t, fsys, 16)
			fsys.SetHook(nil)
			if err := session(fsys, dir+"/positions", "4"); err != nil {
				t.Error(err)
			}
			if got, _, err := load(t, dir); err != nil || got != "4" {
				t.Errorf("loaded %s, %v", short(got), err)
			}
		})
	}
}

// TestFiles_restartBeforeSync kills processes between a call and the sync that makes it
// durable. What the next process builds on it must be durable all the same.
func TestFiles_restartBeforeSync(t *testing.T) {
	for _, kind := range []disktest.Kind{disktest.Sync, disktest.SyncDir} {
		for n := range 6 {
			dir := t.TempDir()
			fsys := disktest.New(t, dir)
			i := 0
			fsys.SetHook(func(c disktest.Call) error {
				if c.Kind == kind {
					i++
				}
				if i > n && c.Kind != disktest.Close {
					return errInjected // the process is dead, and the system closes its files
				}
				return nil
			})
			_ = session(fsys, dir+"/positions", "1", "2", longOne, "3")
			fsys.SetHook(nil)
			if err := session(fsys, dir+"/positions", "4"); err != nil {
				t.Fatal(kind, n, err)
			}
			checkCrashes(t, fsys, 8)
		}
	}
}
