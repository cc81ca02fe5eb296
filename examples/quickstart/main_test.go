package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asProgram makes the test binary run main instead of the tests.
const asProgram = "QUICKSTART_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const sampleSummary = ` 10000 reports read
    51 refused, in refused.jsonl
           27 repaired without damage
           15 unknown damage code
            8 flying at 0 knots
            1 taxiing faster than 60 knots
  9949 strikes, in strikes.csv = 10000 read - 51 refused
   208 costs, in costs.jsonl = 9949 strikes - 9782 filtered, without costs + 41 more by splitting
`

// TestRun checks the outputs against the input, report by report.
func TestRun(t *testing.T) {
	reports := sampleReports(t)
	out := t.TempDir() // each run replaces the outputs of the one before
	for _, batch := range []int{1, 500, 20_000} {
		t.Run(fmt.Sprintf("batches of %d", batch), func(t *testing.T) {
			result, _ := mustRun(t, options{batch: batch, out: out})

			strikes := readCSV(t, filepath.Join(out, "strikes.csv"))
			costs := readJSON(t, filepath.Join(out, "costs.jsonl"))
			refused := readJSON(t, filepath.Join(out, "refused.jsonl"))
			wantReasons := map[string]int{}
			wantStrikes, wantCosts, withCosts := 0, 0, 0
			for i, report := range reports {
				if reason := reasonToRefuse(report); reason != "" {
					wantReasons[reason]++
					checkRefusal(t, next(t, &refused), i+2, reason, report)
					continue
				}
				wantStrikes++
				checkStrike(t, next(t, &strikes), report)
				n := checkCosts(t, &costs, report)
				wantCosts += n
				withCosts += min(n, 1)
			}
			if len(strikes)+len(costs)+len(refused) > 0 {
				t.Errorf("left over: %d strikes, %d costs, %d refused", len(strikes), len(costs), len(refused))
			}

			if len(wantReasons) != 4 || withCosts == wantCosts || withCosts == wantStrikes {
				t.Errorf("the data does not try everything: reasons %v, %d costs of %d strikes",
					wantReasons, wantCosts, withCosts)
			}
			for name, n := range map[string][2]int{
				"read":     {int(result.stats.Read), len(reports)},
				"acked":    {int(result.stats.Acked), len(reports)},
				"refused":  {result.refused.written, len(reports) - wantStrikes},
				"strikes":  {result.strikes.written, wantStrikes},
				"costs":    {result.costs.written, wantCosts},
				"filtered": {int(result.stats.Filtered), wantStrikes - withCosts},
				"added":    {result.added, wantCosts - withCosts},
			} {
				if n[0] != n[1] {
					t.Errorf("%s: %d, want %d", name, n[0], n[1])
				}
			}
			if !reflect.DeepEqual(result.reasons, wantReasons) {
				t.Errorf("reasons: %v, want %v", result.reasons, wantReasons)
			}
			if got := strings.ReplaceAll(result.String(), out+string(filepath.Separator), ""); got != sampleSummary {
				t.Errorf("summary:\n%s", got)
			}
		})
	}
}

// TestStopAndGoOn interrupts a run. What it has written must be complete, and a
// second run that goes on from there must complete the files.
func TestStopAndGoOn(t *testing.T) {
	_, whole := mustRun(t, options{batch: 100})

	for when, batch := range map[string]int{
		"while the source waits within a batch":  100,
		"while the source waits between batches": 1,
		"while the source reads the last batch":  3000,
		"while a batch is on its way":            100,
	} {
		t.Run(when, func(t *testing.T) {
			interrupt, cancel := context.WithCancel(t.Context())
			defer cancel()
			opts := options{batch: batch, out: t.TempDir()}
			in := openSample(t)
			switch when {
			case "while a batch is on its way":
				opts.onAck = cancel
			case "while the source reads the last batch":
				in.left, in.stall, in.err = in.size(t), cancel, io.EOF
			default:
				in.left, in.stall = 500_000, cancel
			}
			first, err := runOn(interrupt, in, opts)
			if err != nil {
				t.Fatal(err)
			}
			done := int(first.stats.Acked)
			if done == 0 || done%batch != 0 || done == 10_000 {
				t.Fatalf("%d reports are done, want some whole batches", done)
			}
			if n := first.strikes.written + first.refused.written; n != done {
				t.Errorf("%d strikes and refused, but %d reports are done", n, done)
			}
			want := fmt.Sprintf("\nStopped before the end. To go on: -from %d\n", first.source.done)
			if !strings.HasSuffix(first.String(), want) {
				t.Errorf("the summary does not say how to go on:\n%s", first)
			}
			for _, name := range outputs {
				part, all := readFile(t, opts.out, name), readFile(t, whole, name)
				if !bytes.HasPrefix(all, part) || len(part) > 0 && part[len(part)-1] != '\n' {
					t.Errorf("%s is not the first lines of what a whole run writes", name)
				}
			}

			second, _ := mustRun(t, options{batch: 100, out: opts.out, from: first.source.done})
			if n := done + int(second.stats.Acked); n != 10_000 {
				t.Errorf("both runs read %d reports, want 10000", n)
			}
			checkSame(t, opts.out, whole)
		})
	}
}

// TestBrokenRow checks that a run ends at a row that it cannot read, and that
// the outputs are complete once the row is repaired.
func TestBrokenRow(t *testing.T) {
	_, whole := mustRun(t, options{batch: 100})

	data, err := sample.ReadFile("data/birdstrikes.csv")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines[5000] = []byte("not,a,report\r\n")
	in := filepath.Join(t.TempDir(), "broken.csv")
	if err := os.WriteFile(in, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}

	out := t.TempDir()
	file, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	_, err = runOn(t.Context(), file, options{batch: 100, out: out})
	if err == nil || !strings.Contains(err.Error(), "record on line 5001: wrong number of fields") {
		t.Fatalf("got error %v", err)
	}
	if !errors.Is(err, csv.ErrFieldCount) {
		t.Errorf("the error does not wrap that of the source: %v", err)
	}
	from := goOnFrom(t, err.Error())
	if second, _ := mustRun(t, options{batch: 100, out: out, from: from}); second.stats.Acked != 5_100 {
		t.Errorf("the second run read %d reports, want those from the broken batch on, 5100", second.stats.Acked)
	}
	checkSame(t, out, whole)
}

// TestProgram runs the program as users do.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty.csv":   "",
		"broken.json": `[{"Title": "The Birds",` + "\n" + `"Year": 19`,
		"other.csv":   "city,state\n" + strings.Repeat("Greenville,MS\n", 60),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		args    []string
		stderr  string // in the one line that is expected, none if empty
		stdout  string
		outputs bool
	}{
		"sample":               {outputs: true, stdout: "10000 reports read"},
		"missing input":        {args: []string{"-in", "missing.csv"}, stderr: "open missing.csv"},
		"input is a directory": {args: []string{"-in", "."}, stderr: "is a directory"},
		"empty input":          {args: []string{"-in", "empty.csv"}, stderr: "the input is empty"},
		"broken JSON":          {args: []string{"-in", "broken.json"}, stderr: "parse error on line 1"},
		"other CSV":            {args: []string{"-in", "other.csv"}, stderr: "at most 50 of the last 1000", outputs: true},
		"no such position":     {args: []string{"-from", "77"}, stderr: "no row of the input ends at byte 77"},
		"no batch":             {args: []string{"-batch", "0"}, stderr: "at least one report"},
		"no flag":              {args: []string{"missing.csv"}, stderr: `argument "missing.csv"`},
		"output is a file":     {args: []string{"-out", "empty.csv"}, stderr: "empty.csv"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "new", "out")
			var stdout, stderr strings.Builder
			cmd := program(t, append([]string{"-out", out}, test.args...)...)
			cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
			err := cmd.Run()

			wantCode := 0
			if test.stderr != "" {
				wantCode = 1
			}
			if code := cmd.ProcessState.ExitCode(); code != wantCode {
				t.Errorf("exit status %d, want %d (%v)", code, wantCode, err)
			}
			if !strings.Contains(stderr.String(), test.stderr) || strings.Count(stderr.String(), "\n") != wantCode ||
				test.stderr == "" && stderr.Len() > 0 { // no progress bar without a terminal
				t.Errorf("stderr: %q, want a line with %q", stderr.String(), test.stderr)
			}
			if !strings.Contains(stdout.String(), test.stdout) || test.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout: %q, want %q in it", stdout.String(), test.stdout)
			}
			if _, err := os.Stat(out); (err == nil) != test.outputs {
				t.Errorf("outputs: %v, want them: %v", err, test.outputs)
			}
		})
	}
}

// TestInterrupt checks that the program ends well when it gets the signal of
// Ctrl-C.
func TestInterrupt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send the signal here")
	}
	out := t.TempDir()
	var stdout, stderr strings.Builder
	cmd := program(t, "-out", out, "-batch", "10", "-pause", "1h")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(tryRead(out, "strikes.csv")) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the program writes nothing")
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, stderr: %s", err, stderr.String())
	}
	if !regexp.MustCompile(`(?s)^ +\d*0 reports read\n.*\nStopped before the end. To go on: -from \d+\n$`).MatchString(stdout.String()) {
		t.Errorf("stdout: %s", stdout.String())
	}
}

// TestFullDisk lets the program run out of space in the middle of a write, and
// go on once there is more. It must leave whole lines behind and lose nothing.
// What one branch wrote of the last batch before the other failed comes twice.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the size of files cannot be limited here")
	}
	_, whole := mustRun(t, options{batch: 500})

	out := t.TempDir()
	cmd := program(t, "-out", out)
	cmd.Args = append([]string{"sh", "-c", `ulimit -f 300 && exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	message, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || bytes.Count(message, []byte("\n")) != 1 {
		t.Fatalf("exit status %d (%v): %s", code, err, message)
	}
	first := map[string][]byte{}
	for _, name := range outputs {
		first[name] = readFile(t, out, name)
	}
	mustRun(t, options{batch: 500, out: out, from: goOnFrom(t, string(message))})

	for _, name := range outputs {
		all := readFile(t, whole, name)
		second := bytes.TrimPrefix(readFile(t, out, name), first[name])
		if !bytes.HasPrefix(all, first[name]) || !bytes.HasSuffix(all, second) || len(first[name])+len(second) < len(all) ||
			len(first[name]) == 0 || first[name][len(first[name])-1] != '\n' {
			t.Errorf("%s has lost something", name)
		}
	}
}

// goOnFrom returns the position that a message gives to go on at.
func goOnFrom(t *testing.T, message string) int64 {
	t.Helper()
	match := regexp.MustCompile(`-from (\d+)`).FindStringSubmatch(message)
	if match == nil {
		t.Fatalf("no position in message %q", message)
	}
	from, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return from
}

// program returns a command that runs the program, and kills it when the test
// ends or takes too long.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

var outputs = []string{"strikes.csv", "costs.jsonl", "refused.jsonl"}

// options are what the flags say.
type options struct {
	out   string
	batch int
	from  int64
	onAck func()
}

// runOn runs the pipeline over a file.
func runOn(interrupt context.Context, in fs.File, opts options) (*summary, error) {
	source, err := newCSVSource(in, opts.batch, opts.from)
	if err != nil {
		return nil, err
	}
	source.onAck = func() {
		if opts.onAck != nil {
			opts.onAck()
		}
	}
	return run(interrupt, source, opts.out)
}

// mustRun runs the pipeline to the end of the sample. It returns the directory
// of the outputs.
func mustRun(t *testing.T, opts options) (*summary, string) {
	t.Helper()
	if opts.out == "" {
		opts.out = t.TempDir()
	}
	in := openSample(t)
	result, err := runOn(t.Context(), in, opts)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(result.String(), "Stopped") {
		t.Fatal("the run did not come to the end of its input")
	}
	select {
	case <-in.closed:
	default:
		t.Error("the input was not closed")
	}
	for _, o := range []*output{result.strikes, result.costs, result.refused} {
		if err := o.file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s was not closed", o.path)
		}
	}
	return result, opts.out
}

// openSample opens the sample as a file that never stalls.
func openSample(t *testing.T) *stallingFile {
	t.Helper()
	file, err := sample.Open("data/birdstrikes.csv")
	if err != nil {
		t.Fatal(err)
	}
	return &stallingFile{
		File: file, left: math.MaxInt, stall: func() {}, closed: make(chan struct{}), err: fs.ErrClosed,
	}
}

// stallingFile has no more to give after some bytes, until it is closed.
type stallingFile struct {
	fs.File
	left   int
	stall  func() // called when it has come to that
	closed chan struct{}
	err    error // what a stalled Read returns
}

func (f *stallingFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		f.stall()
		<-f.closed
		return 0, f.err
	}
	n, err := f.File.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

func (f *stallingFile) size(t *testing.T) int {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

func (f *stallingFile) Close() error {
	close(f.closed)
	return f.File.Close()
}

// sampleReports returns the rows of the sample as maps from column to text.
func sampleReports(t *testing.T) []map[string]string {
	t.Helper()
	data, err := sample.ReadFile("data/birdstrikes.csv")
	if err != nil {
		t.Fatal(err)
	}
	return toMaps(t, data)
}

func readCSV(t *testing.T, path string) []map[string]string {
	t.Helper()
	return toMaps(t, readFile(t, path))
}

func toMaps(t *testing.T, data []byte) []map[string]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	maps := make([]map[string]string, len(rows)-1)
	for i, row := range rows[1:] {
		maps[i] = make(map[string]string)
		for j, column := range rows[0] {
			maps[i][column] = row[j]
		}
	}
	return maps
}

func readJSON(t *testing.T, path string) []map[string]any {
	t.Helper()
	var values []map[string]any
	for line := range bytes.Lines(readFile(t, path)) {
		var value map[string]any
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	return values
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tryRead returns nil if the file cannot be read.
func tryRead(path ...string) []byte {
	data, _ := os.ReadFile(filepath.Join(path...))
	return data
}

// next takes the first value.
func next[T any](t *testing.T, values *[]T) (value T) {
	t.Helper()
	if len(*values) == 0 {
		t.Fatal("an output ends too early")
	}
	value, *values = (*values)[0], (*values)[1:]
	return value
}

func checkSame(t *testing.T, got, want string) {
	t.Helper()
	for _, name := range outputs {
		if !bytes.Equal(readFile(t, got, name), readFile(t, want, name)) {
			t.Errorf("%s is not what a whole run writes", name)
		}
	}
}

// reasonToRefuse says why a report of the sample should be refused.
func reasonToRefuse(report map[string]string) string {
	repaired := report["Cost Total $"] != report["Cost Other"]
	phase, speed := report["Phase of flight"], report["Speed IAS in knots"]
	switch {
	case len(report["Effect Amount of damage"]) == 1: // the sample has the letters B and C
		return "unknown damage code"
	case report["Effect Amount of damage"] == "None" && repaired:
		return "repaired without damage"
	case speed == "0" && strings.Contains("Approach Climb Descent", phase):
		return "flying at 0 knots"
	case phase == "Taxi" && len(speed) == 3: // 100 or more
		return "taxiing faster than 60 knots"
	}
	return ""
}

func checkRefusal(t *testing.T, got map[string]any, line int, reason string, report map[string]string) {
	t.Helper()
	raw := map[string]any{}
	for column, text := range report {
		raw[column] = text
	}
	want := map[string]any{"line": float64(line), "reason": reason, "task": "validate", "report": raw}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("refused %v\nwant    %v", got, want)
	}
}

func checkStrike(t *testing.T, got, report map[string]string) {
	t.Helper()
	want := map[string]string{
		"date":           report["Flight Date"],
		"time_of_day":    report["Time of day"],
		"airport":        report["Airport Name"],
		"state":          report["Origin State"],
		"operator":       strings.TrimRight(strings.Replace(report["Aircraft Airline Operator"], "UNKNOWN", "", 1), "*"),
		"aircraft":       strings.ReplaceAll(report["Aircraft Make Model"], "  ", " "),
		"phase":          report["Phase of flight"],
		"speed_knots":    report["Speed IAS in knots"],
		"species":        report["Wildlife Species"],
		"size":           report["Wildlife Size"],
		"damage":         report["Effect Amount of damage"],
		"repair_dollars": report["Cost Repair"],
		"other_dollars":  report["Cost Other"],
	}
	if strings.HasPrefix(want["species"], "Unknown bird") {
		want["species"] = ""
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("strike %v\nwant   %v", got, want)
	}
}

// checkCosts takes the costs of a report and checks that they are its total. It
// returns how many they are.
func checkCosts(t *testing.T, costs *[]map[string]any, report map[string]string) (n int) {
	t.Helper()
	left, err := strconv.ParseFloat(report["Cost Total $"], 64)
	if err != nil {
		t.Fatal(err)
	}
	for ; left > 0; n++ {
		cost := next(t, costs)
		dollars := cost["dollars"].(float64)
		column := map[any]string{"repair": "Cost Repair", "other": "Cost Other"}[cost["cost"]]
		if report[column] != strconv.FormatFloat(dollars, 'f', 0, 64) ||
			cost["date"] != report["Flight Date"] || cost["airport"] != report["Airport Name"] || dollars <= 0 {
			t.Fatalf("cost %v does not belong to report %v", cost, report)
		}
		left -= dollars
	}
	if left != 0 {
		t.Errorf("the costs do not make the total of report %v", report)
	}
	return n
}
