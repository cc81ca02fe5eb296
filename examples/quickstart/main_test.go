package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
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
	for _, batch := range []int{1, 500, 20_000} {
		t.Run(fmt.Sprintf("batches of %d", batch), func(t *testing.T) {
			out := t.TempDir()
			result := mustRun(t, out, batch)

			strikes := readCSV(t, filepath.Join(out, "strikes.csv"))
			costs := readJSON(t, filepath.Join(out, "costs.jsonl"))
			refused := readLetters(t, filepath.Join(out, "refused.jsonl"))
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
				"refused":  {result.refused, len(reports) - wantStrikes},
				"strikes":  {result.strikes, wantStrikes},
				"costs":    {result.costs, wantCosts},
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

// TestStopAndGoOn interrupts a run. It must leave whole lines behind, and a second run
// must continue there and complete the files, without a repeat.
func TestStopAndGoOn(t *testing.T) {
	whole := t.TempDir()
	mustRun(t, whole, 100)

	for _, batch := range []int{1, 100, 3000} {
		t.Run(fmt.Sprintf("batches of %d", batch), func(t *testing.T) {
			interrupt, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := t.TempDir()
			var progress []int64
			first, err := run(interrupt, "", out, batch, func(done, size int64) {
				progress = append(progress, done, size)
				cancel() // while a batch is on its way
			})
			if err != nil {
				t.Fatal(err)
			}
			done := int(first.stats.Acked)
			if done == 0 || done%batch != 0 || done == 10_000 {
				t.Fatalf("%d reports are done, want some whole batches", done)
			}
			if progress[0] <= 0 || progress[0] >= progress[1] || progress[1] != int64(len(sample)) {
				t.Errorf("the progress is %d, want a part of %d bytes", progress, len(sample))
			}
			if n := first.strikes + first.refused; n != done {
				t.Errorf("%d strikes and refused, but %d reports are done", n, done)
			}
			if want := "\nStopped before the end. Run it again to go on.\n"; !strings.HasSuffix(first.String(), want) {
				t.Errorf("the summary does not say how to go on:\n%s", first)
			}
			for _, name := range outputs {
				part, all := readFile(t, out, name), readFile(t, whole, name)
				if name == "refused.jsonl" {
					continue // each letter has its time
				}
				if !bytes.HasPrefix(all, part) || len(part) > 0 && part[len(part)-1] != '\n' {
					t.Errorf("%s is not the first lines of what a whole run writes", name)
				}
			}

			second := mustRun(t, out, 100)
			if n := done + int(second.stats.Acked); n != 10_000 {
				t.Errorf("both runs read %d reports, want 10000", n)
			}
			if want := fmt.Sprintf("Went on after the %d reports of earlier runs.\n", done); !strings.HasPrefix(second.String(), want) {
				t.Errorf("the summary does not say where it went on:\n%s", second)
			}
			checkSame(t, out, whole)

			third := mustRun(t, out, 100)
			if want := "There is nothing new. To begin anew, remove " + out + ".\n"; !strings.HasSuffix(third.String(), want) {
				t.Errorf("the summary does not say that all was read before:\n%s", third)
			}
			checkSame(t, out, whole)
		})
	}
}

// TestBrokenRow checks that a row that cannot be parsed is refused, and no other.
func TestBrokenRow(t *testing.T) {
	lines := bytes.SplitAfter(sample, []byte("\n"))
	lines[5000] = []byte("not,a,report\r\n")
	in := filepath.Join(t.TempDir(), "broken.csv")
	if err := os.WriteFile(in, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	result, err := run(t.Context(), in, out, 100, noProgress)
	if err != nil {
		t.Fatal(err)
	}
	const reason = "not a row: the row has 3 fields, the header has 14"
	if result.stats.Acked != 10_000 || result.reasons[reason] != 1 {
		t.Errorf("%d reports read, reasons %v", result.stats.Acked, result.reasons)
	}
	var found bool
	for _, letter := range readLetters(t, filepath.Join(out, "refused.jsonl")) {
		if letter.Reason == reason {
			found = true
			raw, _ := letter.Record.Payload.After.(opencdc.RawData)
			if string(raw) != "not,a,report\r\n" && string(raw) != "not,a,report" || letter.Record.Metadata[file.MetadataLine] != "5001" {
				t.Errorf("the dead letter holds %q of line %s", raw, letter.Record.Metadata[file.MetadataLine])
			}
		}
	}
	if !found {
		t.Error("the row is not among the dead letters")
	}
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
		args   []string
		stderr string // in the one line that is expected, none if empty
		stdout string
	}{
		"sample":           {stdout: "10000 reports read"},
		"missing input":    {args: []string{"-in", "missing.csv"}, stderr: "missing.csv"},
		"empty input":      {args: []string{"-in", "empty.csv"}, stdout: "0 reports read"},
		"broken JSON":      {args: []string{"-in", "broken.json"}, stderr: "header"},
		"other CSV":        {args: []string{"-in", "other.csv"}, stderr: "at most 50 of the last 1000"},
		"no batch":         {args: []string{"-batch", "0"}, stderr: "at least 1"},
		"no flag":          {args: []string{"missing.csv"}, stderr: `argument "missing.csv"`},
		"output is a file": {args: []string{"-out", "empty.csv"}, stderr: "empty.csv"},
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
	awaitOutput(t, out, "strikes.csv")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, stderr: %s", err, stderr.String())
	}
	if !regexp.MustCompile(`(?s)^ +\d*0 reports read\n.*\nStopped before the end. Run it again to go on.\n$`).MatchString(stdout.String()) {
		t.Errorf("stdout: %s", stdout.String())
	}
}

// TestKill kills the program, and runs it again. It must leave whole lines behind, lose
// nothing, and write again no more than the batch that was in flight.
func TestKill(t *testing.T) {
	whole := t.TempDir()
	mustRun(t, whole, 500)
	out := t.TempDir()
	cmd := program(t, "-out", out, "-batch", "50", "-pause", "1ms")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, out, outputs...)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	checkGoneOn(t, out, whole)
	strikes := bytes.Count(readFile(t, out, "strikes.csv"), []byte("\n"))
	if again := strikes - bytes.Count(readFile(t, whole, "strikes.csv"), []byte("\n")); again < 0 || again > 50 {
		t.Errorf("%d strikes were written again, want at most those of a batch of 50", again)
	}
}

// TestFullDisk lets the program run out of space in the middle of a write, and
// continue once there is more. It must leave whole lines behind and lose nothing.
// The part of the last batch that one branch wrote before the other failed comes twice.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the size of files cannot be limited here")
	}
	whole := t.TempDir()
	mustRun(t, whole, 500)

	// The input is larger than the limit, so it is there before.
	in := filepath.Join(t.TempDir(), "birdstrikes.csv")
	if err := os.WriteFile(in, sample, 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	cmd := program(t, "-in", in, "-out", out)
	cmd.Args = append([]string{"sh", "-c", `ulimit -f 300 && exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	message, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || bytes.Count(message, []byte("\n")) != 1 ||
		!bytes.Contains(message, []byte("run it again to go on")) {
		t.Fatalf("exit status %d (%v): %s", code, err, message)
	}
	checkGoneOn(t, out, whole)
}

// checkGoneOn runs the pipeline to its end in a directory with an interrupted run, and
// checks that only records that were in flight are there twice.
func checkGoneOn(t *testing.T, out, whole string) {
	t.Helper()
	first := map[string][]byte{}
	for _, name := range outputs {
		data := readFile(t, out, name)
		first[name] = data[:bytes.LastIndexByte(data, '\n')+1] // a torn line is cut off
	}
	mustRun(t, out, 500)
	for _, name := range outputs {
		if name == "refused.jsonl" {
			continue // each letter has its time
		}
		all := readFile(t, whole, name)
		second, isAfter := bytes.CutPrefix(readFile(t, out, name), first[name])
		if !isAfter || len(first[name]) == 0 ||
			!bytes.HasPrefix(all, first[name]) || !bytes.HasSuffix(all, second) || len(first[name])+len(second) < len(all) {
			t.Errorf("%s has lost something", name)
		}
	}
	var lines []string
	for _, letter := range readLetters(t, filepath.Join(out, "refused.jsonl")) {
		if line := letter.Record.Metadata[file.MetadataLine]; !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if want := len(readLetters(t, filepath.Join(whole, "refused.jsonl"))); len(lines) != want {
		t.Errorf("reports of %d lines are refused, want %d", len(lines), want)
	}
}

// awaitOutput waits until the program has written something to each of the files.
func awaitOutput(t *testing.T, out string, names ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, name := range names {
		for len(tryRead(out, name)) == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("the program writes no %s", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
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

func noProgress(int64, int64) {}

// mustRun runs the pipeline to the end of the sample.
func mustRun(t *testing.T, out string, batch int) *summary {
	t.Helper()
	result, err := run(t.Context(), "", out, batch, noProgress)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(result.String(), "Stopped") {
		t.Fatal("the run did not come to the end of its input")
	}
	return result
}

// sampleReports returns the rows of the sample as maps from column to text.
func sampleReports(t *testing.T) []map[string]string {
	t.Helper()
	return toMaps(t, sample)
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

// readLetters reads dead letters.
func readLetters(t *testing.T, path string) []funnel.DeadLetter {
	t.Helper()
	var letters []funnel.DeadLetter
	for line := range bytes.Lines(readFile(t, path)) {
		var record opencdc.Record
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		letter, err := funnel.ParseDeadLetter(record)
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, letter)
	}
	return letters
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
		if name == "refused.jsonl" {
			gotLetters, wantLetters := readLetters(t, filepath.Join(got, name)), readLetters(t, filepath.Join(want, name))
			if len(gotLetters) != len(wantLetters) {
				t.Errorf("%d letters in %s, want %d", len(gotLetters), name, len(wantLetters))
			}
			continue
		}
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

func checkRefusal(t *testing.T, got funnel.DeadLetter, line int, reason string, report map[string]string) {
	t.Helper()
	want := opencdc.StructuredData{}
	for column, text := range report {
		want[column] = text
	}
	if got.Reason != reason || got.TaskID != "validate" || got.Record.Metadata[file.MetadataLine] != strconv.Itoa(line) ||
		!reflect.DeepEqual(got.Record.Payload.After, want) {
		t.Errorf("refused %v\nwant    %v of line %d, because of: %s", got, want, line, reason)
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

// checkCosts takes the costs of a report, checks that they add up to its total, and
// returns their number.
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
