// Package storetest tests that a store of positions keeps the contract of
// [position.Store].
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/position"
)

// Conformance says how [Test] gets stores.
type Conformance struct {
	// New returns an empty store.
	New func(testing.TB) position.Store
	// Reopen returns another store over the storage of the old one, as after a restart of
	// the program. All claims of old were released.
	Reopen func(t testing.TB, old position.Store) position.Store
}

// Test runs a subtest for each promise, with a new store.
func Test(t *testing.T, c Conformance) {
	tests := []struct {
		name string
		run  func(*run)
	}{
		{"nothing_was_saved", (*run).nothingWasSaved},
		{"the_last_position_is_loaded", (*run).lastIsLoaded},
		{"positions_of_any_size", (*run).anySize},
		{"any_ID", (*run).anyID},
		{"a_claim_excludes_others", (*run).excludesOthers},
		{"one_of_many_claims_succeeds", (*run).oneOfMany},
		{"a_released_claim_is_fenced", (*run).releasedIsFenced},
		{"an_empty_position_is_refused", (*run).emptyIsRefused},
		{"ended_contexts_change_nothing", (*run).endedContexts},
		{"nobody_shares_bytes", (*run).sharesNothing},
		{"sources_beside_each_other", (*run).besideEachOther},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.run(&run{T: t, conformance: c, store: c.New(t)})
		})
	}
}

// run is a subtest.
type run struct {
	*testing.T
	conformance Conformance
	store       position.Store
}

var ctx = context.Background()

func (r *run) reopen() {
	r.Helper()
	r.store = r.conformance.Reopen(r, r.store)
}

func (r *run) claim(id string) position.Claim {
	r.Helper()
	c, err := r.store.Claim(ctx, id)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func (r *run) save(c position.Claim, p string) {
	r.Helper()
	if err := c.Save(ctx, opencdc.Position(p)); err != nil {
		r.Fatal(err)
	}
}

func (r *run) release(c position.Claim) {
	r.Helper()
	if err := c.Release(ctx); err != nil {
		r.Fatal(err)
	}
}

// want fails unless the claim loads this position. "" stands for nil.
func (r *run) want(c position.Claim, p string) {
	r.Helper()
	got, err := c.Load(ctx)
	switch {
	case err != nil:
		r.Fatal(err)
	case string(got) != p:
		r.Fatalf("Load returned %s, want %s", short(string(got)), short(p))
	case p == "" && got != nil:
		r.Fatal("Load returned an empty position, want nil")
	}
}

func (r *run) wantError(err, want error) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("the error is %v, want %v", err, want)
	}
}

func short(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%q... (%d bytes)", s[:40], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func (r *run) nothingWasSaved() {
	for range 2 {
		c := r.claim("orders")
		r.want(c, "")
		r.want(c, "")
		r.release(c)
	}
	r.reopen()
	r.want(r.claim("orders"), "")
}

func (r *run) lastIsLoaded() {
	n := 0
	for range 4 {
		c := r.claim("orders")
		for range 7 {
			n++
			r.save(c, fmt.Sprint(n))
			r.want(c, fmt.Sprint(n))
		}
		r.release(c)
		c = r.claim("orders")
		r.want(c, fmt.Sprint(n))
		r.release(c)
		r.reopen()
		c = r.claim("orders")
		r.want(c, fmt.Sprint(n))
		r.release(c)
	}
}

func (r *run) anySize() {
	for _, n := range []int{1, 500, 4000, 4047, 4048, 4049, 3, 8143, 8144, 8145, 1 << 20, 1} {
		c := r.claim("orders")
		for _, fill := range []string{"\x00", "b"} {
			r.save(c, strings.Repeat(fill, n))
			r.want(c, strings.Repeat(fill, n))
		}
		r.release(c)
		r.reopen()
		c = r.claim("orders")
		r.want(c, strings.Repeat("b", n))
		r.release(c)
	}
}

func (r *run) anyID() {
	long := strings.Repeat("x/", 5000)
	ids := []string{
		"orders", "Orders", "ORDERS", "orders ", " orders", "orders.position", "orders.new", "", " ", ".", "..", "../orders",
		"/", "/etc/passwd", `\`, `c:\x`, "a/b", "a%2fb", "%", "%%", "a\x00", "a", "\x00", "ä", "\xff", "\xff\xfe", "con", "~", "*?",
		strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("x", 130),
		strings.Repeat("/", 100), long, long + "1", long + "2", strings.Repeat("x", 100_000),
	}
	claims := make([]position.Claim, len(ids))
	for i, id := range ids {
		claims[i] = r.claim(id)
		r.want(claims[i], "")
	}
	for i, c := range claims {
		r.save(c, fmt.Sprint("position ", i))
	}
	for _, c := range claims {
		r.release(c)
	}
	r.reopen()
	for i, id := range ids {
		r.want(r.claim(id), fmt.Sprint("position ", i))
	}
}

func (r *run) excludesOthers() {
	first, other := r.claim("orders"), r.claim("items")
	for range 2 {
		_, err := r.store.Claim(ctx, "orders")
		r.wantError(err, position.ErrClaimed)
	}
	r.save(first, "1")
	r.save(other, "2")
	r.release(first)
	second := r.claim("orders")
	r.want(second, "1")
	r.want(other, "2")
}

func (r *run) oneOfMany() {
	for range 5 {
		var wg sync.WaitGroup
		claims := make(chan position.Claim, 8)
		for range 8 {
			wg.Go(func() {
				c, err := r.store.Claim(ctx, "orders")
				switch {
				case err == nil:
					claims <- c
				case !errors.Is(err, position.ErrClaimed):
					r.Errorf("the error is %v", err)
				}
			})
		}
		wg.Wait()
		if len(claims) != 1 {
			r.Fatalf("%d of 8 claims succeeded", len(claims))
		}
		c := <-claims
		r.save(c, "1")
		r.release(c)
	}
}

func (r *run) releasedIsFenced() {
	c := r.claim("orders")
	r.save(c, "1")
	r.release(c)
	check := func() {
		r.Helper()
		_, err := c.Load(ctx)
		r.wantError(err, position.ErrFenced)
		r.wantError(c.Save(ctx, opencdc.Position("2")), position.ErrFenced)
		r.release(c)
	}
	check()
	second := r.claim("orders")
	check() // above all, the release gives back nothing that is not its own
	r.want(second, "1")
	r.save(second, "3")
	_, err := r.store.Claim(ctx, "orders")
	r.wantError(err, position.ErrClaimed)
}

func (r *run) emptyIsRefused() {
	c := r.claim("orders")
	r.save(c, "1")
	r.wantError(c.Save(ctx, nil), position.ErrEmpty)
	r.wantError(c.Save(ctx, opencdc.Position{}), position.ErrEmpty)
	r.want(c, "1")
}

func (r *run) endedContexts() {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.store.Claim(ended, "orders")
	r.wantError(err, context.Canceled)
	c := r.claim("orders")
	r.save(c, "1")
	r.wantError(c.Save(ended, opencdc.Position("2")), context.Canceled)
	_, err = c.Load(ended)
	r.wantError(err, context.Canceled)
	r.want(c, "1")
	if err := c.Release(ended); err != nil {
		r.release(c)
	}
	r.want(r.claim("orders"), "1")
}

func (r *run) sharesNothing() {
	c := r.claim("orders")
	p := opencdc.Position("one")
	if err := c.Save(ctx, p); err != nil {
		r.Fatal(err)
	}
	copy(p, "xxx")
	r.want(c, "one")
	got, err := c.Load(ctx)
	if err != nil {
		r.Fatal(err)
	}
	copy(got, "yyy")
	r.want(c, "one")
	kept, err := c.Load(ctx)
	if err != nil {
		r.Fatal(err)
	}
	r.save(c, "two")
	r.save(c, "six")
	if !bytes.Equal(kept, []byte("one")) {
		r.Errorf("the position that Load returned has become %q", kept)
	}
}

func (r *run) besideEachOther() {
	var wg sync.WaitGroup
	for i := range 4 {
		c := r.claim(fmt.Sprint("source ", i))
		wg.Go(func() {
			for n := range 20 {
				if err := c.Save(ctx, fmt.Appendf(nil, "%d-%d", i, n)); err != nil {
					r.Error(err)
				}
			}
			if err := c.Release(ctx); err != nil {
				r.Error(err)
			}
		})
	}
	wg.Wait()
	r.reopen()
	for i := range 4 {
		r.want(r.claim(fmt.Sprint("source ", i)), fmt.Sprintf("%d-19", i))
	}
}
