package funneltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// The tests run suites on connectors with a fault, and compare the names of the checks
// that have findings.

var errTest = errors.New("test error")

// brokenConnector is a fault and the checks that find it.
type brokenConnector struct {
	fault string
	want  []string
}

// testFaults runs the suite of each fault. It also tests that each check finds a fault.
func testFaults(t *testing.T, suite func(fault string) *conformSuite, faults []brokenConnector) {
	isFound := make(map[string]bool)
	for _, f := range faults {
		t.Run(strings.ReplaceAll(f.fault, " ", "_"), func(t *testing.T) {
			wantFindings(t, func() *conformSuite { return suite(f.fault) }, f.want...)
		})
		for _, name := range f.want {
			isFound[name] = true
		}
	}
	for _, check := range suite("").checks {
		if !isFound[check.name] {
			t.Errorf("no fault shows that %s finds anything", check.name)
		}
	}
}

// wantFindings fails the test unless exactly the named checks of the suite have findings.
// Each check runs in a bubble of its own.
func wantFindings(t *testing.T, suite func() *conformSuite, want ...string) {
	t.Helper()
	if err := suite().validate(); err != nil {
		t.Fatal(err)
	}
	var got, texts []string
	for i, check := range suite().checks {
		if check.missing != "" {
			continue
		}
		t.Run(check.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := suite()
				_ = s.validate()
				r := s.checks[i].perform(t, s.timeout)
				time.Sleep(time.Minute) // of the bubble: goroutines that end late do so
				if len(r.findings) > 0 {
					got = append(got, check.name)
					texts = append(texts, check.name+": "+strings.Join(r.findings, "\n"))
				}
			})
		})
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("findings in:\n  %s\nwant:\n  %s\n%s", strings.Join(got, "\n  "), strings.Join(want, "\n  "), strings.Join(texts, "\n"))
	}
}

// findings returns the findings of the check of this name, in a bubble, as one text.
func findings(t *testing.T, suite func() *conformSuite, name string) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := suite()
		if err := s.validate(); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.checks, func(c conformCheck) bool { return c.name == name })
		for _, f := range s.checks[i].perform(t, s.timeout).findings {
			text += s.checks[i].report(f) + "\n"
		}
	})
	return text
}

// wantTexts fails the test unless the text contains all others.
func wantTexts(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the text lacks %q:\n%s", w, text)
		}
	}
}

// lifecycle is Open and Teardown of the connectors under test. If the context has ended,
// both fail and change nothing.
type lifecycle struct {
	fault   string
	onOpen  func()        // called by Open, unless it is nil
	release chan struct{} // closed at the end of the test: what waits for it counts as hanging
	isTorn  bool
	isOver  bool // nothing works anymore
}

func newLifecycle(t testing.TB, fault string) lifecycle {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	return lifecycle{fault: fault, release: release}
}

func (l *lifecycle) leak() { go func() { <-l.release }() }

func (l *lifecycle) ID() string           { return "test" }
func (l *lifecycle) Errors() <-chan error { return nil }

func (l *lifecycle) Open(ctx context.Context) error {
	if ctx.Err() != nil {
		switch l.fault {
		case "a failed open leaks":
			l.leak()
		case "a failed open is final":
			l.isOver = true
		}
		return ctx.Err()
	}
	if l.isOver || l.isTorn && l.fault == "opens once" {
		return errTest
	}
	if l.fault == "leaks" {
		l.leak()
	}
	if l.onOpen != nil {
		l.onOpen()
	}
	return nil
}

func (l *lifecycle) Teardown(ctx context.Context) error {
	if l.isOver {
		return errTest
	}
	if ctx.Err() != nil {
		l.isOver = l.fault == "a failed teardown is final"
		return ctx.Err()
	}
	l.isTorn = true
	return nil
}

// lifecycleFaults are the faults of every kind of connector.
func lifecycleFaults(faults ...brokenConnector) []brokenConnector {
	return append(faults,
		brokenConnector{"", nil},
		brokenConnector{"opens once", []string{"opens_again_after_teardown", "failed_teardown_can_be_repeated"}},
		brokenConnector{"a failed teardown is final", []string{"failed_teardown_can_be_repeated"}},
		brokenConnector{"a failed open leaks", []string{"failed_open_cleans_up"}},
		brokenConnector{"a failed open is final", []string{"failed_open_cleans_up"}},
		brokenConnector{"leaks", []string{"leaves_no_goroutines"}},
	)
}

// A configuration that cannot work is refused with a clear error.
func TestConformance_configuration(t *testing.T) {
	source := sourceConformance("", true)
	for text, suite := range map[string]*conformSuite{
		"the function New is missing":              SourceConformance{}.suite(),
		"New is missing":                           DestinationConformance{}.suite(),
		"function New is missing":                  ProcessorConformance{}.suite(),
		"the number of Records is 3, at least 4":   with(source, func(c *SourceConformance) { c.Records = 3 }).suite(),
		"the number of Records is -1, at least 4":  with(source, func(c *SourceConformance) { c.Records = -1 }).suite(),
		"the Timeout -1ns is negative":             with(source, func(c *SourceConformance) { c.Timeout = -1 }).suite(),
		`the name "positions_difer" in Skip`:       with(source, func(c *SourceConformance) { c.Skip = []string{"positions_difer"} }).suite(),
		"the subtests are:\n  positions_are_not_e": with(source, func(c *SourceConformance) { c.Skip = []string{""} }).suite(),
	} {
		if err := suite.validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error is %v, want %q", err, text)
		}
	}
	suite := source.suite()
	if err := suite.validate(); err != nil || suite.timeout != 10*time.Second {
		t.Errorf("error %v, timeout %v", err, suite.timeout)
	}
}

func with(c SourceConformance, change func(*SourceConformance)) SourceConformance {
	change(&c)
	return c
}

// Names can be typed after -run, and each check says all that its report needs.
func TestConformance_texts(t *testing.T) {
	for _, suite := range []*conformSuite{
		sourceConformance("", true).suite(), destinationConformance("").suite(), processorConformance("").suite(),
	} {
		names := make(map[string]bool)
		for _, c := range suite.checks {
			if strings.Trim(c.name, "abcdefghijklmnopqrstuvwxyz_") != "" || names[c.name] {
				t.Errorf("%s: invalid name %q", suite.name, c.name)
			}
			names[c.name] = true
			for _, text := range []string{c.promise, c.advice} {
				if !strings.HasSuffix(text, ".") || strings.Count(text, ". ") > 3 {
					t.Errorf("%s: %s: not one to four sentences: %q", suite.name, c.name, text)
				}
			}
			if c.run == nil {
				t.Errorf("%s: %s does nothing", suite.name, c.name)
			}
		}
	}
}

// A call that hangs is reported with what hangs and where.
func TestConformance_hangingCall(t *testing.T) {
	suite := func() *conformSuite { return sourceConformance("teardown does not unblock", true).suite() }
	start := time.Now()
	text := findings(t, suite, "teardown_unblocks_a_pending_read")
	wantTexts(t, text, "Read, pending when Teardown was called, has not returned; the subtest had 10s (Timeout)", "abandoned",
		"(*memorySource).Read", "The promise: Teardown is called during a Read", "What to do: Close a channel in Teardown",
		`Skip: []string{"teardown_unblocks_a_pending_read"}`)
	if strings.Contains(text, "tRunner") {
		t.Errorf("the goroutine of the test is listed:\n%s", text)
	}
	if time.Since(start) > 9*time.Second {
		t.Error("the test took its time outside of the bubble")
	}
}

// A source that returns nothing, or less than it promises, is told so.
func TestConformance_missingRecords(t *testing.T) {
	for _, name := range []string{"positions_differ", "ack_returns_during_a_pending_read", "everything_can_be_acked"} {
		suite := func() *conformSuite { return sourceConformance("is empty", true).suite() }
		wantTexts(t, findings(t, suite, name), "Read returns no records and no error, again and again, but 10 more are expected")
		suite = func() *conformSuite { return sourceConformance("too few", false).suite() }
		wantTexts(t, findings(t, suite, name), "the source has ended by io.EOF after 9 records, but 1 more")
	}
	suite := func() *conformSuite { return sourceConformance("ends by a wrapped EOF", false).suite() }
	wantTexts(t, findings(t, suite, "positions_differ"), "an error that wraps io.EOF: the last ones: EOF", "Only io.EOF itself")
	suite = func() *conformSuite { return sourceConformance("fails", false).suite() }
	wantTexts(t, findings(t, suite, "positions_differ"), "Read after 0 records (10 more are expected of 10, see Records) failed", "test error")
}

// A panic and runtime.Goexit in a connector are findings, with the stack of the panic.
func TestConformance_endingCall(t *testing.T) {
	suite := func() *conformSuite { return sourceConformance("panics", true).suite() }
	wantTexts(t, findings(t, suite, "positions_differ"), "panicked: test error", "(*memorySource).Read")
	suite = func() *conformSuite { return sourceConformance("exits", true).suite() }
	wantTexts(t, findings(t, suite, "positions_differ"), "Read after 0 records", "ended its goroutine")
	suite = func() *conformSuite {
		return SourceConformance{New: func(testing.TB) funnel.Source { panic(errTest) }}.suite()
	}
	wantTexts(t, findings(t, suite, "positions_differ"), "a function of the configuration panicked: test error", "conformance_internal_test.go")
	suite = func() *conformSuite {
		return SourceConformance{New: func(testing.TB) funnel.Source { return nil }}.suite()
	}
	wantTexts(t, findings(t, suite, "positions_differ"), "New returned nil")
}

// The environment variable that makes TestConformance_process fail in several ways.
const processVariable = "FUNNELTEST_CONFORMANCE_PROCESS"

// TestConformance_process is a test that fails, in a process of its own.
func TestConformance_process(t *testing.T) {
	if os.Getenv(processVariable) == "" {
		t.Skip("for TestConformance_output")
	}
	t.Run("broken", func(t *testing.T) {
		TestSource(t, with(sourceConformance("same position", false), func(c *SourceConformance) {
			c.Timeout, c.Skip, c.AckDuringRead = time.Second, []string{"leaves_no_goroutines"}, false
		}))
	})
	t.Run("fatal", func(t *testing.T) {
		TestSource(t, SourceConformance{New: func(t testing.TB) funnel.Source { t.Fatal("no server"); return nil }})
	})
	t.Run("unknown", func(t *testing.T) {
		TestSource(t, with(sourceConformance("", true), func(c *SourceConformance) { c.Skip = []string{"x"} }))
	})
}

// A subtest prints what it has found, and is skipped by its name.
func TestConformance_output(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestConformance_process$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), processVariable+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var failed *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &failed) {
		t.Errorf("the process ended with %v", err)
	}
	lines := strings.Split(out.String(), "\n")
	var results []string
	for _, line := range lines {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "--- ") {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "--- "), " (")
			results = append(results, name)
		}
	}
	const path = "TestConformance_process/"
	for _, want := range []string{
		"FAIL: " + path + "broken/positions_differ",
		"PASS: " + path + "broken/positions_are_not_empty",
		"PASS: " + path + "broken/teardown_unblocks_a_pending_read",
		"SKIP: " + path + "broken/pending_read_obeys_its_context",
		"SKIP: " + path + "broken/leaves_no_goroutines",
		"SKIP: " + path + "broken/ack_returns_during_a_pending_read",
		"FAIL: " + path + "fatal/positions_are_not_empty",
		"FAIL: " + path + "fatal/leaves_no_goroutines",
		"FAIL: " + path + "unknown",
	} {
		if !slices.Contains(results, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	wantTexts(t, out.String(),
		`the records 7 and 8 (counted from 0) both have the position "7"`, "The promise: Each record has a position of its own",
		"its name is in Skip", "nothing to check: the source has ended by io.EOF", "AckDuringRead is not set", "no server",
		`funneltest.TestSource: the name "x" in Skip is not that of a subtest; the subtests are:`)
	if n := strings.Count(out.String(), "The promise:"); n != 1 {
		t.Errorf("%d promises are broken, want 1", n)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// Goroutines that do not come from calls of the connector are not its leaks, for example
// those of a server that New starts.
func TestConformance_foreignGoroutines(t *testing.T) {
	suite := func() *conformSuite {
		return with(sourceConformance("", true), func(c *SourceConformance) {
			newSource := c.New
			c.New = func(t testing.TB) funnel.Source {
				end := make(chan struct{})
				go func() { <-end }()
				t.Cleanup(func() { close(end) })
				return newSource(t)
			}
		}).suite()
	}
	if text := findings(t, suite, "leaves_no_goroutines"); text != "" {
		t.Error(text)
	}
}

// A goroutine that a program starts once is not a leak.
func TestConformance_goroutineOfTheProgram(t *testing.T) {
	suite := func() *conformSuite {
		var once sync.Once
		return with(sourceConformance("", true), func(c *SourceConformance) {
			newSource := c.New
			c.New = func(t testing.TB) funnel.Source {
				src := newSource(t).(*memorySource)
				src.onOpen = func() { once.Do(src.leak) }
				return src
			}
		}).suite()
	}
	if text := findings(t, suite, "leaves_no_goroutines"); text != "" {
		t.Error(text)
	}
}

// After a check, the connector is torn down, unless a call other than Read hangs.
func TestConformance_tearsDown(t *testing.T) {
	var source *memorySource
	suite := func() *conformSuite {
		return with(sourceConformance("too few", true), func(c *SourceConformance) {
			newSource := c.New
			c.New = func(t testing.TB) funnel.Source {
				source = newSource(t).(*memorySource)
				return source
			}
		}).suite()
	}
	wantTexts(t, findings(t, suite, "positions_differ"), "Read after 9 records (1 more are expected of 10, see Records) has not returned")
	if !source.isTorn {
		t.Error("a source whose Read hangs was not torn down")
	}
	var dest *memoryDestination
	suite = func() *conformSuite {
		c := destinationConformance("waits for a second record")
		newDestination := c.New
		c.New = func(t testing.TB) funnel.Destination {
			dest = newDestination(t).(*memoryDestination)
			return dest
		}
		return c.suite()
	}
	wantTexts(t, findings(t, suite, "acks_one_record"), "Ack after 0 acks for 1 records has not returned")
	if dest.isTorn {
		t.Error("a destination was torn down while its Ack hangs")
	}
}

// numbered returns n records with the positions 0, 1, ...
func numbered(n int) []opencdc.Record {
	recs := conformRecords(conformRecord, 0, n)
	for i := range recs {
		recs[i].Position = opencdc.Position(fmt.Sprint(i))
	}
	return recs
}
