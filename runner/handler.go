package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// This file serves the pages of a group. They are read-only: a page is made from an Overview,
// wholly in memory, and then written. Nothing that comes from outside is trusted. The names
// of pipelines, the IDs of tasks and the texts of errors may hold anything, so each page
// escapes them: with encoding/json, with html/template (page.go), or by quoting in plain text.
// Even if some HTML got through, the policy of each page forbids the browser to run or load
// anything.

// The bounds of the pages.
const (
	// pageLagTime is how long a page waits for the lag of sources.
	pageLagTime = time.Second
	// refreshTime is how long a browser waits before it reloads the page for people.
	refreshTime = 5 * time.Second
	// maxListed is how many pipelines a page in plain text names.
	maxListed = 20
	// maxListedName is the maximum length of a name in plain text, in bytes.
	maxListedName = 200
)

// Handler returns a handler for the pages of the group, see "Pages" in the documentation of
// the package. It may be made and used at any time, also before and after [Group.Run], and
// serves concurrent requests. It leaves no goroutines behind, unless the method Lag of a
// source or the function of [WithErrorText] hangs.
//
// Its paths are relative to the path of its mount, which must end in a slash:
//
//	mux.Handle("/pipelines/", http.StripPrefix("/pipelines/", g.Handler()))
//
// The pages show names of pipelines and tasks, counts, and texts of errors, which may hold
// secrets; see [WithErrorText]. The handler does not authenticate requests: that is up to the
// host.
func (g *Group) Handler() http.Handler {
	return &handler{group: g, page: newPage()}
}

type handler struct {
	group *Group
	page  *page
}

// policy is the Content-Security-Policy of pages without a style.
const policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	typeText = "text/plain; charset=utf-8"
	typeJSON = "application/json"
	typeHTML = "text/html; charset=utf-8"
)

// response is a page.
type response struct {
	code        int
	contentType string
	body        []byte
}

// ServeHTTP serves a page.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", policy)
	res := h.respond(header, r)
	header.Set("Content-Type", res.contentType)
	header.Set("Content-Length", strconv.Itoa(len(res.body)))
	w.WriteHeader(res.code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(res.body) // fails if the client has gone
	}
}

func (h *handler) respond(header http.Header, r *http.Request) response {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		return text(http.StatusMethodNotAllowed, "only GET and HEAD are allowed\n")
	}
	switch strings.TrimPrefix(r.URL.Path, "/") {
	case "livez":
		return h.live()
	case "readyz":
		return h.ready()
	case "status.json":
		return h.status(r.Context())
	case "", "index.html":
		header.Set("Content-Security-Policy", h.page.policy)
		return h.index(r.Context())
	default:
		return text(http.StatusNotFound, "there is no such page\n")
	}
}

func text(code int, body string) response {
	return response{code, typeText, []byte(body)}
}

func (h *handler) live() response {
	o := h.group.overview()
	if o.Live {
		return text(http.StatusOK, "live\n")
	}
	lines := []string{"not live:"}
	for _, p := range o.Pipelines {
		if p.State == Stuck {
			lines = append(lines, fmt.Sprintf("%s is stuck since %s", listedName(p.Name), stamp(p.Since)))
		}
	}
	return text(http.StatusServiceUnavailable, list(lines))
}

func (h *handler) ready() response {
	o := h.group.overview()
	if o.Ready {
		return text(http.StatusOK, "ready\n")
	}
	lines := []string{"not ready:"}
	switch o.Phase {
	case PhaseNew:
		lines[0] += " the group does not run yet"
	case PhaseClosed:
		lines[0] += " the group is closed"
	default:
		for _, p := range o.Pipelines {
			if !p.isReady() {
				lines = append(lines, h.reason(&p.Status))
			}
		}
	}
	return text(http.StatusServiceUnavailable, list(lines))
}

// reason says why a pipeline is not ready. Probes are seldom authenticated, so errors are
// shown only if the host redacts them.
func (h *handler) reason(s *Status) string {
	line := fmt.Sprintf("%s is %v since %s", listedName(s.Name), s.State, stamp(s.Since))
	if s.State == Stopped {
		line = listedName(s.Name) + " is about to start"
	}
	if s.Attempt > 0 {
		line += fmt.Sprintf(", failed runs in a row: %d", s.Attempt)
	}
	if !s.Next.IsZero() {
		line += ", next start at " + stamp(s.Next)
	}
	cause := s.Cause
	if cause == "" && s.Attempt > 0 {
		cause = s.LastError
	}
	if cause != "" && h.group.errorText != nil {
		line += ": " + strconv.Quote(cause)
	}
	return line
}

// list joins a heading and items to lines. It shows maxListed items, and counts the rest.
func list(lines []string) string {
	if rest := len(lines) - 1 - maxListed; rest > 0 {
		lines = append(lines[:1+maxListed], fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(lines, "\n") + "\n"
}

// listedName quotes the name of a pipeline for plain text.
func listedName(name string) string {
	if len(name) > maxListedName {
		return strconv.Quote(name[:maxListedName]) + "..."
	}
	return strconv.Quote(name)
}

func (h *handler) status(ctx context.Context) response {
	o := h.overview(ctx)
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetIndent("", "  ")
	if err := e.Encode(o); err != nil { // a year beyond 9999
		return text(http.StatusInternalServerError, "cannot write the status as JSON\n")
	}
	return response{http.StatusOK, typeJSON, escapeJSON(body.Bytes())}
}

// escapeJSON escapes characters that encoding/json does not, but that a terminal or an editor
// interprets or does not show: control characters beyond ASCII, marks of direction and the
// like. They occur only in strings.
func escapeJSON(text []byte) []byte {
	var escaped []byte
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsGraphic(r):
			escaped = utf8.AppendRune(escaped, r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	return escaped
}

func (h *handler) index(ctx context.Context) response {
	var body bytes.Buffer
	if err := h.page.write(&body, h.overview(ctx)); err != nil {
		return text(http.StatusInternalServerError, "cannot write the page\n")
	}
	return response{http.StatusOK, typeHTML, body.Bytes()}
}

func (h *handler) overview(ctx context.Context) Overview {
	ctx, cancel := context.WithTimeout(ctx, pageLagTime)
	defer cancel()
	return h.group.Overview(ctx)
}
