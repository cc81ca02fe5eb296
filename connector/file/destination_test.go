package file_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/funneltest"
	"github.com/conduitio/funnel/internal/disk"
	"github.com/conduitio/funnel/internal/disk/disktest"
	"github.com/conduitio/funnel/log"
)

var _ funnel.Destination = (*file.Destination)(nil)

func TestDestination_conformance(t *testing.T) {
	readRecords := func(t testing.TB, d funnel.Destination) (recs []opencdc.Record) {
		for line := range strings.Lines(content(d.ID())) {
			var r opencdc.Record
			if err := r.UnmarshalJSON([]byte(line)); err != nil {
				t.Fatal(err)
			}
			if d, ok := r.Payload.Before.(opencdc.StructuredData); ok && d == nil {
				r.Payload.Before = nil // what opencdc reads for null
			}
			recs = append(recs, r)
		}
		return recs
	}
	for _, c := range []struct {
		format  file.Format
		opts    []file.DestinationOption
		record  func(int) opencdc.Record
		refused func() opencdc.Record
		stored  func(testing.TB, funnel.Destination) []opencdc.Record
	}{
		{file.Records, nil, nil, func() opencdc.Record { return fields("a", "\xff") }, readRecords},
		{file.Lines, []file.DestinationOption{file.WithoutSync()}, func(i int) opencdc.Record { return lines(i, i+1)[0] }, func() opencdc.Record { return raw("a\nb") }, nil},
		{file.JSONLines, []file.DestinationOption{file.WithRotation(file.Rotation{Bytes: 100})}, func(i int) opencdc.Record { return fields("i", i) }, func() opencdc.Record { return raw("{") }, nil},
		{file.CSV, []file.DestinationOption{file.WithColumns("i")}, func(i int) opencdc.Record { return fields("i", i) }, func() opencdc.Record { return fields("j", 1) }, nil},
	} {
		t.Run(c.format.String(), func(t *testing.T) {
			record := c.record
			if record != nil {
				record = func(i int) opencdc.Record {
					r := c.record(i)
					r.Position = opencdc.Position(strconv.Itoa(i))
					return r
				}
			}
			funneltest.TestDestination(t, funneltest.DestinationConformance{
				New: func(t testing.TB) funnel.Destination {
					return newDestination(t, filepath.Join(t.TempDir(), "d", "out.data"), c.format, c.opts...)
				},
				Record: record, Refused: c.refused, Stored: c.stored,
			})
		})
	}
}

// A record that cannot be written is refused alone.
func TestDestination_refusal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	d := openDestination(t, path, file.Lines)
	errs := deliver(t, d, raw("a"), raw("b\n"), raw("c"), raw("d\n"))
	wantError(t, errs[1], "line end")
	wantError(t, errs[3], "line end")
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("the acks are %v", errs)
	}
	deliver(t, d, raw("e\n"))
	mustWrite(t, d, raw("f"))
	wantContent(t, path, "a\nc\nf\n")
	if acks, err := d.Ack(t.Context()); len(acks) != 0 || err != nil {
		t.Errorf("a second Ack returned %v, %v", acks, err)
	}
}

func TestDestination_appends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "out.csv")
	for i := range 3 {
		d := newDestination(t, path, file.CSV, columnsAB)
		for range 2 {
			if err := d.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, d, fields("a", i))
		}
		for range 2 {
			if err := d.Teardown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, d.Write(t.Context(), lines(0, 1)), "not open")
	}
	wantContent(t, path, "a,b\n0,\n0,\n1,\n1,\n2,\n2,\n")
	if d := newDestination(t, path, file.CSV, columnsAB); d.ID() != path || d.Errors() != nil {
		t.Errorf("ID %q, Errors %v", d.ID(), d.Errors())
	}
}

// The order of the records in a file is that of the Write, however large it is.
func TestDestination_largeWrites(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "{{metadata:to}}.csv"), file.CSV, columnA)
	want := map[string]string{"x": "a\n", "y": "a\n"}
	for _, sizes := range [][]int{
		{10, file.MaxAppend / 2, file.MaxAppend / 2, 10, 20},
		{file.MaxAppend + 10, 5, file.MaxAppend + 20, file.MaxAppend + 30},
		{file.MaxAppend - 1, file.MaxAppend - 2, 1}, {1, 2, 3},
	} {
		var recs []opencdc.Record
		for i, n := range sizes {
			for _, to := range []string{"x", "y"} {
				text := strings.Repeat(to, n+i)
				rec := fields("a", text)
				rec.Metadata = opencdc.Metadata{"to": to}
				recs = append(recs, rec)
				want[to] += text + "\n"
			}
		}
		mustWrite(t, d, recs...)
	}
	for to, text := range want {
		wantContent(t, filepath.Join(dir, to+".csv"), text)
	}
}

func TestNewDestination_errors(t *testing.T) {
	rotation := file.WithRotation
	for _, tt := range []struct {
		path   string
		format file.Format
		opts   []file.DestinationOption
		want   string
	}{
		{"x", 0, nil, "format Format(0)"}, {"x", 5, nil, "format Format(5)"},
		{"", file.Lines, nil, `path "": it is empty`}, {"a/", file.Lines, nil, "names a directory"}, {"a\x00", file.Lines, nil, "NUL"},
		{"x", file.CSV, nil, "needs WithColumns"}, {"x", file.CSV, []file.DestinationOption{file.WithColumns()}, "needs WithColumns"},
		{"x", file.CSV, []file.DestinationOption{file.WithColumns("a", "")}, "column 1 is empty"},
		{"x", file.CSV, []file.DestinationOption{file.WithColumns("a", "b", "a")}, `two columns "a"`},
		{"x", file.CSV, []file.DestinationOption{file.WithColumns("a\x00")}, "NUL"}, {"x", file.CSV, []file.DestinationOption{file.WithColumns("a\xff")}, "UTF-8"},
		{"x", file.CSV, []file.DestinationOption{file.WithColumns("\ufeffa")}, "byte order mark"},
		{"x", file.CSV, []file.DestinationOption{columnsAB, file.WithComma('"')}, `'"'`}, {"x", file.CSV, []file.DestinationOption{columnsAB, file.WithComma(0)}, `'\x00'`},
		{"x", file.CSV, []file.DestinationOption{columnsAB, file.WithComma('\n')}, `'\n'`}, {"x", file.CSV, []file.DestinationOption{columnsAB, file.WithComma(-1)}, "'�'"},
		{"x", file.Lines, []file.DestinationOption{columnsAB}, "not for lines"}, {"x", file.Lines, []file.DestinationOption{file.WithComma(',')}, "WithComma"},
		{"x", file.Lines, []file.DestinationOption{file.WithOtherFieldsDropped()}, "not for lines"},
		{"x", file.Lines, []file.DestinationOption{nil}, "option 0 is nil"},
		{"x", file.Lines, []file.DestinationOption{file.WithMaxOpenFiles(0)}, "at least 1, not 0"},
		{"x", file.Lines, []file.DestinationOption{file.WithFileMode(0o444)}, "read and write"}, {"x", file.Lines, []file.DestinationOption{file.WithFileMode(os.ModeDir | 0o600)}, "permissions only"},
		{"x.a", file.Lines, []file.DestinationOption{rotation(file.Rotation{})}, "neither"}, {"x.a", file.Lines, []file.DestinationOption{rotation(file.Rotation{Bytes: -1})}, "negative"},
		{"x.a", file.Lines, []file.DestinationOption{rotation(file.Rotation{Age: -1})}, "negative"}, {"x", file.Lines, []file.DestinationOption{rotation(file.Rotation{Bytes: 1})}, "extension"},
		{"x.0", file.Lines, []file.DestinationOption{rotation(file.Rotation{Bytes: 1})}, "extension"}, {"x.{{a}}", file.Lines, []file.DestinationOption{rotation(file.Rotation{Bytes: 1})}, "extension"},
	} {
		d, err := file.NewDestination(tt.path, tt.format, tt.opts...)
		if d != nil {
			t.Errorf("%q: there is a destination", tt.path)
		}
		wantError(t, err, "file destination: ", tt.want)
	}
}

func TestDestination_Open_errors(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at("dir"), 0o755), os.WriteFile(at("file"), nil, 0o644), os.WriteFile(at("other.csv"), []byte("a,c\n1,2\n"), 0o644),
		os.WriteFile(at("torn.csv"), []byte("a,c\n1,2\n3"), 0o644), os.WriteFile(at("broken.csv"), []byte("a\"b,c\n1,2\n"), 0o644), os.WriteFile(at("locked"), nil, 0o000), os.WriteFile(at("binary"), []byte("a\nb\x00c\n"), 0o644))
	type row struct {
		name   string
		format file.Format
		want   []string
	}
	rows := []row{
		{"dir", file.Lines, []string{at("dir"), "is a directory"}}, {"file/x", file.Lines, []string{at("file")}},
		{"other.csv", file.CSV, []string{at("other.csv"), `["a" "c"]`, `["a" "b"]`}},
		{"torn.csv", file.CSV, []string{at("torn.csv"), `["a" "c"]`}},
		{"broken.csv", file.CSV, []string{at("broken.csv"), "header cannot be read", `["a" "b"]`}}, {"binary", file.Lines, []string{at("binary"), "byte 3"}},
	}
	if runtime.GOOS != "windows" {
		if os.Getuid() != 0 {
			rows = append(rows, row{"locked", file.Lines, []string{at("locked"), "permission denied"}})
		}
	}
	before := tree(t, dir)
	for _, r := range rows {
		var opts []file.DestinationOption
		if r.format == file.CSV {
			opts = append(opts, columnsAB)
		}
		d := newDestination(t, at(r.name), r.format, opts...)
		wantError(t, d.Open(t.Context()), append(r.want, "file destination: ")...)
		wantError(t, d.Write(t.Context(), lines(0, 1)), "not open")
	}
	if after := tree(t, dir); after != before {
		t.Errorf("the files have changed from %s to %s", before, after)
	}
}

// An existing header counts by its names.
func TestDestination_header(t *testing.T) {
	for _, header := range []string{"a,b\n", "\"a\",\"b\"\r\n", "\ufeffa,b\n", "\ufeff\"a\",b\n"} {
		path := filepath.Join(t.TempDir(), "out.csv")
		if err := os.WriteFile(path, []byte(header), 0o644); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, openDestination(t, path, file.CSV, columnsAB), fields("a", 1))
		wantContent(t, path, header+"1,\n")
	}
}

func TestDestination_twoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	first, second := openDestination(t, path, file.Lines), newDestination(t, path, file.Lines)
	mustWrite(t, first, raw("a"))
	err := second.Open(t.Context())
	wantError(t, err, path, "another destination")
	if !errors.Is(err, disk.ErrLocked) {
		t.Errorf("%v is not ErrLocked", err)
	}
	mustWrite(t, first, raw("b"))
	if err := first.Teardown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, second, raw("c"))
	if err := second.Teardown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantContent(t, path, "a\nb\nc\n")
}

// Another process cannot write to the file.
func TestDestination_twoProcesses(t *testing.T) {
	const variable = "FUNNEL_TEST_FILE"
	if path := os.Getenv(variable); path != "" {
		wantError(t, newDestination(t, path, file.Lines).Open(t.Context()), path, "another destination")
		return
	}
	path := filepath.Join(t.TempDir(), "out")
	openDestination(t, path, file.Lines)
	child := exec.Command(os.Args[0], "-test.run=^TestDestination_twoProcesses$")
	child.Env = append(os.Environ(), variable+"="+path)
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// What another program does to an open file is noticed before anything is appended.
func TestDestination_otherPrograms(t *testing.T) {
	for want, change := range map[string]func(path string) error{
		"removed or renamed": os.Remove,
		"was replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, []byte("a\n"), 0o644))
		},
		"has 0 bytes, but was left with 2": func(path string) error { return os.Truncate(path, 0) },
		"has 4 bytes, but was left with 2": func(path string) error { return os.WriteFile(path, []byte("a\nb\n"), 0o644) },
	} {
		path := filepath.Join(t.TempDir(), "out")
		d := openDestination(t, path, file.Lines)
		mustWrite(t, d, raw("a"))
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		changed := content(path)
		wantError(t, d.Write(t.Context(), lines(0, 1)), path, want)
		if acks, err := d.Ack(t.Context()); len(acks) > 0 || err != nil {
			t.Errorf("there are acks: %v, %v", acks, err)
		}
		if got := content(path); got != changed {
			t.Errorf("%s: Write has changed the file to %q", want, got)
		}
		wantError(t, d.Write(t.Context(), lines(0, 1)), "must be opened again", want)
		if err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, d, raw("z"))
		if got := content(path); !strings.HasSuffix(got, "z\n") {
			t.Errorf("%s: after opening again the file holds %q", want, got)
		}
	}
}

// A file that gets another name before it is locked is not written to.
func TestDestination_renamedWhileOpening(t *testing.T) {
	for _, replaced := range []string{"", "other\n"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		if err := os.WriteFile(path, []byte("old\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		fsys := disktest.New(t, dir)
		isRenamed := false
		fsys.SetHook(func(c disktest.Call) error {
			if c.Kind != disktest.Lock || isRenamed {
				return nil
			}
			isRenamed = true
			if err := os.Rename(path, path+".1"); err != nil || replaced == "" {
				return err
			}
			return os.WriteFile(path, []byte(replaced), 0o644)
		})
		d := openDestination(t, path, file.Lines, file.WithDisk(fsys))
		mustWrite(t, d, raw("new"))
		wantContent(t, path, replaced+"new\n")
		wantContent(t, path+".1", "old\n")
	}
}

// A file that was changed while it was closed is repaired when it is opened again.
func TestDestination_changedWhileClosed(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "{{metadata:to}}"), file.Lines, file.WithMaxOpenFiles(1))
	mustWrite(t, d, to("a", "1"), to("b", "1"))
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("1\ntorn"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, d, to("a", "2"))
	wantContent(t, filepath.Join(dir, "a"), "1\n2\n")
}

// What a destination knows of files that it has closed ends with its life.
func TestDestination_changedBetweenLives(t *testing.T) {
	for name, end := range map[string]func(d *file.Destination, dir string) error{
		"teardown": func(d *file.Destination, _ string) error { return d.Teardown(context.Background()) },
		"failure": func(d *file.Destination, dir string) error {
			if err := os.Remove(filepath.Join(dir, "b")); err != nil {
				return err
			}
			wantError(t, d.Write(t.Context(), []opencdc.Record{to("b", "1")}), "removed")
			return nil
		},
	} {
		dir := t.TempDir()
		d := openDestination(t, filepath.Join(dir, "{{metadata:to}}"), file.Lines, file.WithMaxOpenFiles(1))
		mustWrite(t, d, to("a", "1"), to("b", "1"))
		if err := errors.Join(end(d, dir), os.WriteFile(filepath.Join(dir, "a"), []byte("xx"), 0o644), d.Open(t.Context())); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, d, to("a", "2"))
		if got := content(filepath.Join(dir, "a")); got != "2\n" {
			t.Errorf("after a %s: %q", name, got)
		}
	}
}

// A panic in a value leaves nothing behind.
func TestDestination_panic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	d := openDestination(t, path, file.JSONLines)
	mustWrite(t, d, fields("a", 1))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("there was no panic")
			}
		}()
		_ = d.Write(t.Context(), []opencdc.Record{fields("a", 2), fields("a", panicker{})})
	}()
	wantError(t, d.Write(t.Context(), lines(0, 1)), "must be opened again", "panicked")
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, d, fields("a", 3))
	wantContent(t, path, "{\"a\":1}\n{\"a\":3}\n")
}

type panicker struct{}

func (panicker) MarshalJSON() ([]byte, error) { panic("no JSON") }

// Dead letters of a worker are readable again.
func TestDestination_deadLetters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters.jsonl")
	bad := fields("id", 7, "bytes", []byte("\x00\xff"), "list", []any{1, nil})
	bad.Key, bad.Metadata = opencdc.RawData("key"), opencdc.Metadata{"a": "b"}
	refuse := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error {
		return funnel.RecordErrors{errors.New("it is <bad> \xff")}
	})
	err := funnel.From("in", funnel.SliceSource(bad)).To("out", refuse).
		DeadLetters("letters", newDestination(t, path, file.Records), 0, 0).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := content(path)
	var got opencdc.Record
	if err := got.UnmarshalJSON([]byte(text)); err != nil || strings.Count(text, "\n") != 1 {
		t.Fatalf("%q: %v", text, err)
	}
	if reason, _ := got.Metadata.GetConduitDLQNackError(); !strings.Contains(reason, "<bad>") {
		t.Errorf("the reason is %q", reason)
	}
	want := map[string]any{
		"position": "cCA2", "operation": "create", "metadata": map[string]any{"a": "b"}, "key": "a2V5",
		"payload": map[string]any{"before": nil, "after": map[string]any{"id": 7.0, "bytes": "AP8=", "list": []any{1.0, nil}}},
	}
	if string(got.Position) != "p 6" || !reflect.DeepEqual(map[string]any(got.Payload.After.(opencdc.StructuredData)), want) {
		t.Errorf("the letter holds %v", got)
	}
}

func TestWithLogger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte("a\ntorn"), 0o644); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	openDestination(t, path, file.Lines, file.WithLogger(log.New(zerolog.New(&lines))))
	for _, want := range []string{`"level":"warn"`, `"file":"` + path + `"`, `"bytes":4`, `"offset":2`, `"component":"destination:file"`} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("the log is %s, want %s", lines.String(), want)
		}
	}
	wantContent(t, path, "a\n")
}

func TestWithFileMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir := t.TempDir()
	openDestination(t, filepath.Join(dir, "d", "out"), file.Lines, file.WithFileMode(0o640))
	for path, want := range map[string]os.FileMode{"d": os.ModeDir | 0o750, "d/out": 0o640} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%s has %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}
