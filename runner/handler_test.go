package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

// serve sends a request to the pages.
func serve(h http.Handler, method, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec
}

// wantPage checks the code of a page, and that it holds all words.
func wantPage(t *testing.T, h http.Handler, path string, code int, words ...string) string {
	t.Helper()
	rec := serve(h, http.MethodGet, path)
	body := rec.Body.String()
	if rec.Code != code {
		t.Errorf("%s: code %d, want %d: %s", path, rec.Code, code, body)
	}
	for _, word := range words {
		if !strings.Contains(body, word) {
			t.Errorf("%s lacks %q: %s", path, word, body)
		}
	}
	return body
}

func lacks(t *testing.T, body string, words ...string) {
	t.Helper()
	for _, word := range words {
		if strings.Contains(body, word) {
			t.Errorf("got %q in %s", word, body)
		}
	}
}

func wantOverview(t *testing.T, h http.Handler) (o runner.Overview) {
	t.Helper()
	body := wantPage(t, h, "/status.json", http.StatusOK)
	want(t, json.Unmarshal([]byte(body), &o))
	return o
}

// newGroup returns a group that does not run.
func newGroup(t *testing.T, opts ...runner.Option) *runner.Group {
	t.Helper()
	g, err := runner.New(opts...)
	want(t, err)
	return g
}

func TestHandler_paths(t *testing.T) {
	h := newGroup(t).Handler()
	for path, want := range map[string]struct {
		code        int
		contentType string
	}{
		"/":             {200, "text/html; charset=utf-8"},
		"/index.html":   {200, "text/html; charset=utf-8"},
		"/livez":        {200, "text/plain; charset=utf-8"},
		"/readyz":       {503, "text/plain; charset=utf-8"},
		"/status.json":  {200, "application/json"},
		"/status":       {404, "text/plain; charset=utf-8"},
		"/livez/":       {404, "text/plain; charset=utf-8"},
		"//livez":       {404, "text/plain; charset=utf-8"},
		"/x/livez":      {404, "text/plain; charset=utf-8"},
		"/%3Cscript%3E": {404, "text/plain; charset=utf-8"},
	} {
		get, head := serve(h, http.MethodGet, path), serve(h, http.MethodHead, path)
		for method, rec := range map[string]*httptest.ResponseRecorder{"GET": get, "HEAD": head} {
			header := rec.Result().Header
			if rec.Code != want.code {
				t.Errorf("%s %s: %d, want %d", method, path, rec.Code, want.code)
			}
			for name, value := range map[string]string{
				"Content-Type":           want.contentType,
				"Cache-Control":          "no-store",
				"X-Content-Type-Options": "nosniff",
				"Referrer-Policy":        "no-referrer",
				"Allow":                  "",
			} {
				if got := header.Get(name); got != value {
					t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, value)
				}
			}
			csp := header.Get("Content-Security-Policy")
			if !strings.HasPrefix(csp, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'") {
				t.Errorf("%s %s: policy %q", method, path, csp)
			}
			lacks(t, csp, "unsafe", "script-src", "*")
		}
		if got := get.Result().Header.Get("Content-Length"); got != fmt.Sprint(get.Body.Len()) {
			t.Errorf("%s: %s bytes announced, %d sent", path, got, get.Body.Len())
		}
		if head.Body.Len() > 0 || head.Result().Header.Get("Content-Length") == "0" {
			t.Errorf("HEAD %s: %v, and %q", path, head.Result().Header, head.Body)
		}
		lacks(t, get.Body.String(), "%3Cscript", "<script")
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "BREW"} {
			if rec := serve(h, method, path); rec.Code != 405 || rec.Result().Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, %v", method, path, rec.Code, rec.Result().Header)
			}
		}
	}
}

func TestHandler_mount(t *testing.T) {
	g := newGroup(t)
	mux := http.NewServeMux()
	mux.Handle("/a/b/", http.StripPrefix("/a/b/", g.Handler()))
	mux.Handle("/c/", http.StripPrefix("/c", g.Handler()))
	for _, mount := range []string{"/a/b/", "/c/"} {
		wantPage(t, mux, mount, 200, "There are no pipelines.", `href="status.json"`)
		wantPage(t, mux, mount+"index.html", 200, "There are no pipelines.")
		wantPage(t, mux, mount+"livez", 200, "live\n")
		wantPage(t, mux, mount+"status.json", 200, `"pipelines": []`)
		wantPage(t, mux, mount+"x", 404)
	}
}

// The life of a group, as readyz and livez tell it.
func TestHandler_life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t)
		h := g.Handler()
		fails := make(chan error, 1)
		want(t, g.Add("good", build(nil)))
		want(t, g.Add("idle", build(nil), runner.WithoutAutoStart()))
		want(t, g.Add("bad", build(func(s *source, _ *destination) {
			s.OnRead = func(context.Context) ([]opencdc.Record, error) { return nil, <-fails }
			s.OnTeardown = func(context.Context) error { close(fails); fails = make(chan error, 1); return nil }
		}), runner.WithRestart(runner.Restart{Jitter: -1})))
		if body := wantPage(t, h, "/readyz", 503); body != "not ready: the group does not run yet\n" {
			t.Errorf("got %q", body)
		}
		wantPage(t, h, "/livez", 200)
		o := wantOverview(t, h)
		if o.Phase != runner.PhaseNew || o.Ready || !o.Live || len(o.Pipelines) != 3 ||
			!o.Pipelines[0].ShouldRun || !o.Pipelines[1].ShouldRun || o.Pipelines[2].ShouldRun {
			t.Errorf("before Run: %+v", o)
		}
		wantPage(t, h, "/", 200, "The group does not run yet.", "■ stopped</span> (to be started)")

		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		if body := wantPage(t, h, "/readyz", 200); body != "ready\n" {
			t.Errorf("got %q", body)
		}
		if o := wantOverview(t, h); o.Phase != runner.PhaseRunning || !o.Ready || !o.Live {
			t.Errorf("in Run: %+v", o)
		}

		fails <- fmt.Errorf("no such host: %w", errTest)
		synctest.Wait()
		body := wantPage(t, h, "/readyz", 503, `not ready:`+"\n"+`"bad" is recovering since 2000-01-01T00:00:00Z, failed runs in a row: 1, next start at 2000-01-01T00:00:01Z`+"\n")
		lacks(t, body, "no such host", "good", "idle")
		wantPage(t, h, "/livez", 200)
		wantPage(t, h, "/", 200, "▲ recovering", "no such host", "failed runs in a row: 1", ">in 1s<", "✖ not ready", "✓ live")
		want(t, g.Stop(t.Context(), "bad")) // so it should not run
		wantPage(t, h, "/readyz", 200)
		if s, err := g.StatusOf("bad"); s.ShouldRun || err != nil {
			t.Errorf("got %+v, %v", s, err)
		}
		want(t, g.Start("bad"))
		synctest.Wait()
		fails <- funnel.FatalError(errTest)
		synctest.Wait()
		body = wantPage(t, h, "/readyz", 503, `"bad" is degraded since`)
		lacks(t, body, "next start")
		wantPage(t, h, "/livez", 200)
		wantPage(t, h, "/", 200, "✖ degraded")
		want(t, g.Remove(t.Context(), "bad"))
		wantPage(t, h, "/readyz", 200)

		stop()
		want(t, <-done)
		if body := wantPage(t, h, "/readyz", 503); body != "not ready: the group is closed\n" {
			t.Errorf("got %q", body)
		}
		if o := wantOverview(t, h); o.Phase != runner.PhaseClosed || o.Ready || !o.Live || o.Pipelines[0].ShouldRun {
			t.Errorf("after Run: %+v", o)
		}
		wantPage(t, h, "/livez", 200)
		wantPage(t, h, "/", 200, "The group is closed.")
	})
}

// Before Run, the host decides which pipelines should run. A pipeline that is done is ready.
func TestHandler_shouldRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t)
		want(t, g.Add("a", build(func(s *source, _ *destination) { s.ending("1") }), runner.WithoutAutoStart()))
		want(t, g.Add("b", build(func(s *source, _ *destination) { s.OnOpen = func(context.Context) error { return errTest } })))
		want(t, g.Start("a"))
		want(t, g.Stop(t.Context(), "b"))
		if all := g.Status(); !all[0].ShouldRun || all[1].ShouldRun {
			t.Errorf("before Run: %+v", all)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		wantPage(t, g.Handler(), "/", 200, "✓ done", "✓ ready", "■ stopped</span>\n")
		wantPage(t, g.Handler(), "/readyz", 200)
		stop()
		want(t, <-done)
	})
}

// A pipeline that is restarted should run, also while it drains and between two runs.
func TestHandler_restart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *runner.Group
		release, opening := make(chan struct{}), make(chan struct{})
		first := true
		g = newGroup(t)
		h := g.Handler()
		want(t, g.Add("x", build(func(s *source, _ *destination) {
			isFirst := first
			first = false
			s.OnOpen = func(context.Context) error {
				if !isFirst {
					<-opening
				}
				return nil
			}
			s.OnTeardown = func(context.Context) error { <-release; return nil }
		})))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		wantPage(t, h, "/readyz", 200)
		restarted := make(chan error, 1)
		go func() { restarted <- g.Restart(t.Context(), "x") }()
		synctest.Wait()
		wantPage(t, h, "/readyz", 503, `"x" is draining`)
		close(release)
		want(t, <-restarted)
		wantPage(t, h, "/readyz", 503, `"x" is starting`)
		close(opening)
		synctest.Wait()
		wantPage(t, h, "/readyz", 200)
		stop()
		want(t, <-done)
	})
}

func TestHandler_stuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.Handler()
		release := make(chan struct{})
		w.add("<hangs>", build(func(s *source, d *destination) {
			s.single("1")
			d.OnWrite = func(context.Context, []opencdc.Record) error { <-release; return nil }
		}))
		w.add("good", build(nil))
		synctest.Wait()
		wantPage(t, h, "/livez", 200)
		wantError(t, w.Stop(t.Context(), "<hangs>"), runner.ErrStuck)
		body := wantPage(t, h, "/livez", 503, "not live:\n\"<hangs>\" is stuck since 2000-01-01T00:00:14Z\n")
		lacks(t, body, "good")
		wantPage(t, h, "/readyz", 503, `"<hangs>" is stuck`)
		o := wantOverview(t, h)
		if o.Live || o.Ready || o.Pipelines[0].State != runner.Stuck || o.Pipelines[0].Tasks[0].ID != "out" {
			t.Errorf("got %+v", o)
		}
		wantPage(t, h, "/", 200, "✖ stuck", "✖ not live", "out is working", "for <time", ">14s</time>", "&lt;hangs&gt;")
		close(release)
		synctest.Wait()
		wantPage(t, h, "/livez", 200)
		wantPage(t, h, "/readyz", 200) // it has stopped, as the host wanted
		want(t, w.end())
	})
}

// Errors are on readyz only if the host redacts them.
func TestHandler_redacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, runner.WithErrorText(func(pipeline string, _ error) string { return "redacted\n\"" + pipeline + "\"" }))
		w.add("x", build(func(s *source, _ *destination) {
			s.OnOpen = func(context.Context) error { return fmt.Errorf("password 123: %w", errTest) }
		}))
		synctest.Wait()
		h := w.Handler()
		lacks(t, wantPage(t, h, "/readyz", 503, `: "redacted\n\"x\""`), "password")
		for _, path := range []string{"/", "/status.json"} {
			lacks(t, wantPage(t, h, path, 200, "redacted"), "password")
		}
		want(t, w.end())
	})
}

// readyz stays short, whatever the pipelines are.
func TestHandler_short(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 50 {
			w.add(fmt.Sprintf("%02d\n\xff%s", i, strings.Repeat("x", 1<<16)), func(context.Context) (runner.Parts, error) {
				return runner.Parts{}, errTest
			})
		}
		synctest.Wait()
		body := wantPage(t, w.Handler(), "/readyz", 503, `"19\n\xffxxx`, "\nand 30 more\n")
		if n := strings.Count(body, "\n"); n != 22 || len(body) > 10000 || !utf8.ValidString(body) {
			t.Errorf("%d lines, %d bytes", n, len(body))
		}
		want(t, w.end())
	})
}

// A slow source does not hold up the others, and holds up the page only for a short time.
func TestHandler_lag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.Handler()
		add := func(name string, lag func(context.Context) (int64, time.Duration, error)) {
			w.add(name, runner.Single(func(context.Context) (*funnel.Worker, error) {
				return newWorker(&lagging{newSource(), lag}, newDestination())
			}))
		}
		release := make(chan struct{})
		for _, name := range []string{"b", "d"} {
			add(name, func(context.Context) (int64, time.Duration, error) { <-release; return 0, 0, nil })
		}
		for _, name := range []string{"a", "c"} {
			add(name, func(context.Context) (int64, time.Duration, error) {
				time.Sleep(900 * time.Millisecond)
				return 1234567, 3*time.Hour + 25*time.Minute, nil
			})
		}
		w.add("e", build(nil))
		synctest.Wait()
		begun := time.Now()
		o := wantOverview(t, h)
		if d := time.Since(begun); d != time.Second {
			t.Errorf("the page took %v", d)
		}
		for _, p := range o.Pipelines {
			var ok bool
			switch p.Name {
			case "a", "c":
				ok = slices.Equal(p.Lag, []runner.Lag{{Source: "in", Records: 1234567, Behind: 205 * time.Minute}})
			case "b", "d":
				ok = len(p.Lag) == 1 && strings.Contains(p.Lag[0].Error, "no answer in time")
			default:
				ok = p.Lag == nil
			}
			if !ok {
				t.Errorf("%s: %+v", p.Name, p.Lag)
			}
		}
		wantPage(t, h, "/", 200, "1,234,567 records, 3h 25m behind", "unknown: no answer in time")
		begun = time.Now()
		wantPage(t, h, "/readyz", 200)
		wantPage(t, h, "/livez", 200)
		if d := time.Since(begun); d != 0 {
			t.Errorf("livez and readyz took %v", d)
		}
		close(release)
		want(t, w.end())
	})
}

// The schema of status.json: the names and types of all fields.
func TestHandler_schema(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := 0
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			s, d := newSource(), newDestination()
			if n++; n == 1 {
				s.OnOpen = func(context.Context) error { return errTest }
			}
			read := 0
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				read++
				time.Sleep(time.Millisecond)
				return records(fmt.Sprint(read)), nil
			}
			d.OnWrite = func(ctx context.Context, recs []opencdc.Record) error {
				if string(recs[0].Position) == "2" {
					<-ctx.Done()
				}
				return ctx.Err()
			}
			return newWorker(&lagging{s, func(context.Context) (int64, time.Duration, error) { return 3, time.Minute, nil }}, d)
		}))
		w.add("y", func(context.Context) (runner.Parts, error) { return runner.Parts{}, errTest },
			runner.WithRestart(runner.Restart{InitialInterval: time.Hour, MaxInterval: time.Hour}))
		time.Sleep(2 * time.Second)
		var doc any
		want(t, json.Unmarshal(serve(w.Handler(), http.MethodGet, "/status.json").Body.Bytes(), &doc))
		got := make(map[string]string)
		describe(got, "", doc)
		var lines []string
		for _, key := range slices.Sorted(maps.Keys(got)) {
			lines = append(lines, key+" "+got[key])
		}
		const schema = `
.at time
.live bool
.phase string
.pipelines[].acked_per_second number
.pipelines[].attempt number
.pipelines[].cause string
.pipelines[].lag[].behind_nanoseconds number
.pipelines[].lag[].records number
.pipelines[].lag[].source string
.pipelines[].lag[].worker number
.pipelines[].last_ack time
.pipelines[].last_error string
.pipelines[].last_error_at time
.pipelines[].name string
.pipelines[].next time
.pipelines[].records.acked number
.pipelines[].records.batches number
.pipelines[].records.dead_lettered number
.pipelines[].records.filtered number
.pipelines[].records.in_flight number
.pipelines[].records.nacked number
.pipelines[].records.read number
.pipelines[].records.retried number
.pipelines[].records.waiting number
.pipelines[].restarts number
.pipelines[].should_run bool
.pipelines[].since time
.pipelines[].state string
.pipelines[].tasks[].activity string
.pipelines[].tasks[].id string
.pipelines[].tasks[].since time
.pipelines[].tasks[].worker number
.ready bool`
		if text := strings.Join(lines, "\n"); text != strings.TrimSpace(schema) {
			t.Errorf("the schema is\n%s", text)
		}
		if p := wantOverview(t, w.Handler()).Pipelines[0]; p.Lag[0].Behind != time.Minute || p.Restarts != 1 || p.Records.Acked != 1 {
			t.Errorf("got %+v", p)
		}
		want(t, w.end())
	})
}

// describe adds the types of all fields of a JSON document.
func describe(types map[string]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, value := range v {
			describe(types, path+"."+key, value)
		}
	case []any:
		for _, value := range v {
			describe(types, path+"[]", value)
		}
	case bool:
		types[path] = "bool"
	case float64:
		types[path] = "number"
	case string:
		types[path] = "string"
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			types[path] = "time"
		}
	default:
		types[path] = fmt.Sprintf("%T", value)
	}
}

// The pages serve concurrent requests while the pipelines change.
func TestHandler_concurrent(t *testing.T) {
	w := newWorld(t)
	h := w.Handler()
	w.add("x", build(func(s *source, _ *destination) { s.ending("1") }))
	var wg sync.WaitGroup
	for _, path := range []string{"/", "/livez", "/readyz", "/status.json"} {
		wg.Go(func() {
			for range 50 {
				if rec := serve(h, http.MethodGet, path); rec.Code != 200 && rec.Code != 503 {
					t.Errorf("%s: %d", path, rec.Code)
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			for name, s := range w.Stats() {
				_, _ = name, s
			}
		}
	})
	for i := range 20 {
		name := fmt.Sprint("y", i)
		w.add(name, runner.Single(func(context.Context) (*funnel.Worker, error) {
			return newWorker(&lagging{newSource(), func(context.Context) (int64, time.Duration, error) { return 1, 0, nil }}, newDestination())
		}))
		_ = w.Restart(t.Context(), name)
		want(t, w.Remove(t.Context(), name))
	}
	wg.Wait()
	want(t, w.end())
}
