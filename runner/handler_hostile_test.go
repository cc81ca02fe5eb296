package runner_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/runner"
)

// hostile are texts that try to break out of a page.
var hostile = []string{
	`<script>document.title="owned"</script>`,
	`"><img src="/owned" onerror="document.title='owned'">`,
	`</td></table></style><style>*{display:none}</style>`,
	`'--><!--{{.}}<![CDATA[`,
	"control \x00\x01\x1b[31m\x7f\u0085 and \u202egnol\u2066\u200b\ufeff \U000e0041",
	"invalid \xff\xfe\xc0\x80\xed\xa0\x80",
	`&lt;script&gt; &#60; \u003c %3Cscript%3E javascript:owned`,
	strings.Repeat("<é>", 1<<20),
}

// hostilePipelines adds pipelines whose names, tasks and errors are hostile.
func hostilePipelines(t *testing.T, w *world) {
	for _, text := range hostile {
		// An error, as the cause of the state.
		w.add(text, func(context.Context) (runner.Parts, error) { return runner.Parts{}, errors.New(text) })
		// Tasks that work, and an error of a lag.
		w.add("runs "+text, runner.Single(func(context.Context) (*funnel.Worker, error) {
			s, d := newSource(), newDestination()
			s.single("1")
			d.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { <-ctx.Done(); return ctx.Err() }
			lag := func(context.Context) (int64, time.Duration, error) { return 0, 0, errors.New(text) }
			return funnel.From("source "+text, &lagging{s, lag}).To(text, d).Options(funnel.WithStats()).Worker()
		}))
	}
	synctest.Wait()
}

func TestHandler_hostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.Handler()
		hostilePipelines(t, w)
		for _, path := range []string{"/", "/status.json", "/readyz", "/livez"} {
			body := serve(h, http.MethodGet, path).Body.String()
			if !utf8.ValidString(body) {
				t.Errorf("%s is not valid UTF-8", path)
			}
			if len(body) > 200<<10 {
				t.Errorf("%s has %d bytes", path, len(body))
			}
			if i := strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
				t.Errorf("%s has a control character: %q", path, body[max(i-50, 0):i+5])
			}
		}

		lacks(t, serve(h, http.MethodGet, "/status.json").Body.String(), "<", ">")
		o := wantOverview(t, h)
		if len(o.Pipelines) != 2*len(hostile) {
			t.Fatalf("%d pipelines", len(o.Pipelines))
		}
		for _, p := range o.Pipelines {
			for _, text := range []string{p.Name, p.Cause, p.LastError} {
				if len(text) > 2048 {
					t.Errorf("a text has %d bytes", len(text))
				}
			}
			if strings.HasPrefix(p.Name, "runs <script>") && p.Tasks[0].ID != hostile[0] ||
				strings.HasPrefix(p.Name, "runs control") && p.Tasks[0].ID != hostile[4] {
				t.Errorf("got %+v", p)
			}
		}

		page := serve(h, http.MethodGet, "/").Body.String()
		lacks(t, page, "<script", "<img", "onerror=\"", "<!--", "<![", "\u202e", "\u2066", "\u200b", "\ufeff", "\u0085")
		for _, word := range []string{
			"&lt;script&gt;document.title=&#34;owned&#34;&lt;/script&gt;", `\x1b[31m\x7f\u0085`, `\u202egnol\u2066`,
			"invalid \ufffd", "&amp;lt;script", "{{.}}", "bytes)",
		} {
			if !strings.Contains(page, word) {
				t.Errorf("the page lacks %q", word)
			}
		}
		for tag, n := range map[string]int{"<style": 1, "<table": 1, "</table": 1, "<tr": 1 + 2*len(hostile), "<td": 7 * 2 * len(hostile)} {
			if got := strings.Count(page, tag); got != n {
				t.Errorf("%d times %q, want %d", got, tag, n)
			}
		}
		want(t, w.end())
	})
}

// The policy allows the style of the page, and nothing else.
func TestHandler_policy(t *testing.T) {
	rec := serve(newGroup(t).Handler(), http.MethodGet, "/")
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(rec.Body.String())
	if style == nil {
		t.Fatal("the page has no style")
	}
	sum := sha256.Sum256([]byte(style[1]))
	wantPolicy := "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if got := rec.Result().Header.Get("Content-Security-Policy"); got != wantPolicy {
		t.Errorf("got  %s\nwant %s", got, wantPolicy)
	}
	lacks(t, rec.Body.String(), "url(", "http://", "https://", "@import", "<script", "<link", "style=")
	for _, word := range []string{"prefers-color-scheme: dark", `<meta http-equiv="refresh" content="5">`, `<html lang="en">`} {
		if !strings.Contains(rec.Body.String(), word) {
			t.Errorf("the page lacks %q", word)
		}
	}
}

// Numbers and times on the page, for people.
func TestHandler_numbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var lag atomic.Pointer[runner.Lag]
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			s := newSource()
			n := 0
			s.OnRead = func(ctx context.Context) ([]opencdc.Record, error) {
				if n++; n > 20 {
					return s.wait(ctx)
				}
				if n == 1 {
					time.Sleep(250 * time.Millisecond) // not when the rate is measured
				}
				time.Sleep(time.Second)
				return records(strings.Fields(strings.Repeat("1 ", 1234))...), nil
			}
			d := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return nil })
			return newWorker(&lagging{s, func(context.Context) (int64, time.Duration, error) {
				l := lag.Load()
				return l.Records, l.Behind, nil
			}}, d)
		}))
		check := func(l runner.Lag, words ...string) {
			t.Helper()
			lag.Store(&l)
			wantPage(t, w.Handler(), "/", 200, words...)
		}
		time.Sleep(20500 * time.Millisecond)
		check(runner.Lag{Records: 999, Behind: 59 * time.Second}, "24,680 acked<", "1,299 acked per second", "999 records, 59s behind", ">20s<")
		check(runner.Lag{Records: 1000, Behind: 3*time.Minute + 59*time.Second}, "1,000 records, 3m behind")
		check(runner.Lag{Records: -1, Behind: -time.Second}, "unknown records, -1s behind")
		check(runner.Lag{Records: 1<<63 - 1, Behind: 1<<63 - 1}, "9,223,372,036,854,775,807 records, 106,751d 23h behind")
		check(runner.Lag{Records: -1 << 63, Behind: -1 << 63}, "unknown records, -106,751d 23h behind")
		time.Sleep(26 * time.Hour)
		check(runner.Lag{}, "0 records, 0s behind", ">0.0 acked per second", ">1d 2h ago<",
			`<time datetime="2000-01-01T00:00:20Z" title="2000-01-01T00:00:20Z">1d 2h ago</time>`)
		want(t, w.end())
	})
}

// Sources are unwrapped when the run begins. An overview never waits long for their lag.
func TestOverview_unwrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.add("x", runner.Single(func(context.Context) (*funnel.Worker, error) {
			return newWorker(hanging{newSource(), release}, newDestination())
		}))
		w.add("y", build(nil))
		synctest.Wait()
		begun := time.Now()
		o := w.Overview(t.Context())
		if time.Since(begun) != 0 || o.Pipelines[0].State != runner.Starting || o.Pipelines[1].State != runner.Running {
			t.Errorf("after %v: %+v", time.Since(begun), o)
		}
		text, err := json.Marshal(o)
		if want(t, err); !strings.Contains(string(text), `"worker":0`) {
			t.Errorf("got %s", text)
		}
		close(release)
		synctest.Wait()
		w.wantState("x", runner.Running)
		want(t, w.end())
	})
}

// hanging is a source that hangs when it is unwrapped.
type hanging struct {
	*source
	release chan struct{}
}

func (h hanging) Unwrap() funnel.Source { <-h.release; return h.source }
