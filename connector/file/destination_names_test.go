package file_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/disk/disktest"
)

func TestNames_values(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string // the name of the file, without .d
	}{
		{"orders", "orders"}, {"é ü", "é ü"}, {"a.b", "a.b"}, {" a", " a"}, {"a-b_c", "a-b_c"},
		{7, "7"}, {int8(-7), "-7"}, {int64(1) << 62, "4611686018427387904"}, {uint64(1) << 63, "9223372036854775808"}, {uint8(1), "1"},
		{true, "true"}, {false, "false"},
		{time.Date(2024, 2, 29, 23, 30, 0, 0, time.FixedZone("", -3600)), "2024-03-01"},
		{"", "%empty"}, {"%empty", "%25empty"}, {".", "%2E"}, {"..", "%2E%2E"}, {".a", "%2Ea"}, {"a.", "a%2E"}, {"a ", "a%20"}, {" ", "%20"},
		{"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"}, {`..\a`, "%2E.%5Ca"}, {"/", "%2F"}, {"a\x00b", "a%00b"}, {"a\n\x7f", "a%0A%7F"}, {"\u0085", "%C2%85"},
		{"\xff", "%FF"}, {"a:b*?\"<>|%", "a%3Ab%2A%3F%22%3C%3E%7C%25"}, {"{{x}}", "{{x}}"},
		{"con", "%63on"}, {"NUL", "%4EUL"}, {"Com1", "%43om1"}, {"lpt¹", "%6Cpt¹"}, {"conin$", "%63onin$"}, {"aux.x", "%61ux.x"}, {"com10", "com10"}, {"console", "console"}, {"com", "com"}, {"comé", "comé"},
		{strings.Repeat("x", 245), strings.Repeat("x", 245)},
	} {
		dir := t.TempDir()
		d := openDestination(t, filepath.Join(dir, "{{v}}.d"), file.CSV, columnA, file.WithOtherFieldsDropped())
		mustWrite(t, d, fields("v", tt.value))
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != tt.want+".d" {
			t.Errorf("%#v: got %v, %v, want %s.d", tt.value, entries, err, tt.want)
		}
	}
}

func TestNames_placeholders(t *testing.T) {
	rec := fields("table", "orders", "customer", map[string]any{"country": opencdc.StructuredData{"code": "DE"}}, "a", "x_y", "b", "y_z", "dot", ".")
	rec.Metadata = opencdc.Metadata{"opencdc.collection": "coll", "a/b": "slash", "empty": ""}
	for path, want := range map[string]string{
		"x/{{table}}/{{ customer.country.code }}.jsonl":        "x/orders/DE.jsonl",
		"{{metadata:opencdc.collection}}-1.jsonl":              "coll-1.jsonl",
		"{{metadata:a/b}}/{{metadata:empty}}":                  "slash/%empty",
		"{{table}}/fixed/x.jsonl":                              "orders/fixed/x.jsonl",
		"{{a}}_{{b}}":                                          "x%5Fy_y_z",
		"a{{dot}}{x}/b{{table}}":                               "a%2E{x}/borders",
		"CO{{metadata:n}}/{{table}}":                           "CO%4E/orders",
		"x/../y/./{{table}}":                                   "y/orders",
		"{{table}}" + strings.Repeat("/{{table}}", 20) + "/.x": strings.Repeat("orders/", 21) + ".x",
	} {
		dir := t.TempDir()
		rec.Metadata["n"] = "N"
		d := openDestination(t, dir+"/"+path, file.JSONLines)
		mustWrite(t, d, rec)
		if got := content(filepath.Join(dir, want)); !strings.HasSuffix(got, "}\n") {
			t.Errorf("%s: %s is not there: %s", path, want, got)
		}
	}
	t.Chdir(t.TempDir())
	mustWrite(t, openDestination(t, "{{table}}", file.JSONLines), rec)
	if got := content("orders"); !strings.HasSuffix(got, "}\n") {
		t.Errorf("a relative path: %s", got)
	}
}

func TestNames_errors(t *testing.T) {
	for path, want := range map[string]string{
		"{{a": `the placeholder {{a has no "}}"`, "a}}": `"}}" without "{{"`, "{{a}}/}}": `"}}" without "{{"`,
		"{{}}": "{{}} has an empty field name", "{{.Name}}": "{{.Name}} has an empty field name", "{{a..b}}": "empty field name", "{{ }}": "empty field name",
		"{{metadata:}}": "names no metadata key", "{{env:HOME}}": "neither the name of a field", "{{a | upper}}": "neither the name of a field",
		"{{a}}{{b}}": "{{a}} needs a separator", "{{a}}x{{b}}": "{{a}} needs a separator", "{{a}}%{{b}}": "{{a}} needs a separator", "{{a}}é{{b}}": "{{a}} needs a separator",
		"{{a}}/../x": `element ".."`, "{{a}}/./x": `element "."`, "{{a}}//x": "empty element", "{{a}}/": "names a directory",
		"{{a}}" + strings.Repeat("x", 200): "no room", "{{a}}\x00": "NUL",
	} {
		_, err := file.NewDestination(path, file.Lines)
		wantError(t, err, fmt.Sprintf("path %q", path), want)
	}
}

func TestNames_refused(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "{{a.b}}", "{{metadata:m}}.d"), file.Lines)
	with := func(rec opencdc.Record) opencdc.Record {
		rec.Metadata = opencdc.Metadata{"m": "x"}
		return rec
	}
	ab := func(v any) opencdc.Record { return with(fields("a", map[string]any{"b": v})) }
	good := ab("x")
	recs := []opencdc.Record{
		with(raw("text")), with(fields("b", 1)), with(fields("a", 1)), good, ab(nil), ab(1.5), ab([]byte("x")), ab([]any{}), ab(map[string]any{}),
		fields("a", map[string]any{"b": "x"}), good, with(opencdc.Record{}),
	}
	wants := []string{
		"needs structured data", "{{a.b}}", "a is a int", "", "is null", "is a float64", "is a []uint8", "is a []interface {}", "is a map",
		"{{metadata:m}}", "", "needs structured data",
	}
	for i, err := range deliver(t, d, recs...) {
		if wants[i] == "" {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
			continue
		}
		wantError(t, err, "names no file", wants[i])
	}
	if got := tree(t, dir); got != "x/x.d={\"a\":{\"b\":\"x\"}}\n{\"a\":{\"b\":\"x\"}}\n" {
		t.Errorf("the files are %s", got)
	}
}

// hostile returns values that try to leave the directory, or to name the file of another value.
func hostile() []string {
	long := strings.Repeat("x", 300)
	return []string{
		"", ".", "..", "...", "/", "//", "\\", "../x", "..\\x", "/etc/passwd", "C:\\x", "C:", "x/../../y", "a\x00/../b", "\x00", "~", "~root", "%", "%2E", "%2F", "%%", "%empty", "%~",
		"\n", "\r\n", " ", "  ", "x ", "x.", "x. .", "CON", "con", "con.txt", "CON .txt", "nul", "COM1", "COM¹", "LPT9.a.b", "\xff\xfe", "\xc0\xaf", "\u202e", "\u2028", "é", "e\u0301", "A", "a",
		long, long + "y", strings.Repeat("/", 300), strings.Repeat("é", 200), strings.Repeat("é", 199) + "x", strings.Repeat(".", 300), strings.Repeat("\xff", 255), strings.Repeat("%", 255),
		strings.Repeat("x", 100), strings.Repeat("x", 101), strings.Repeat("../", 100) + "etc/passwd", "{{a}}", "a.000001", "a.000002.x", "-rf", "*", "a\tb", strings.Repeat("x", 1<<20),
	}
}

// checkName fails the test unless the values have files of their own, each an element or
// two below the directory, with names that every system accepts.
func checkNames(t testing.TB, template string, values [][2]string) {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	d := openDestination(t, root+"/"+template, file.Lines, file.WithoutSync(), file.WithRotation(file.Rotation{Bytes: 1}))
	var recs []opencdc.Record
	for i, v := range values {
		rec := raw(fmt.Sprint(i))
		rec.Metadata = opencdc.Metadata{"a": v[0], "b": v[1]}
		recs = append(recs, rec)
	}
	mustWrite(t, d, recs...)
	mustWrite(t, d, recs...) // into new files, after a rotation
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("outside of the root: %v, %v", entries, err)
	}
	files := make(map[string][]string) // by record
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := entry.Name()
		if len(name) > 255 || !utf8.ValidString(name) || strings.ContainsAny(name, "/\\\x00\n:*?\"<>|") || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
			t.Errorf("the name %q", name)
		}
		if !entry.IsDir() {
			for line := range strings.Lines(content(path)) {
				files[strings.TrimSpace(line)] = append(files[strings.TrimSpace(line)], path)
			}
			if depth := strings.Count(strings.TrimPrefix(path, root), string(filepath.Separator)); depth != strings.Count(template, "/")+1 {
				t.Errorf("the path %q", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	owners := make(map[string][2]string)
	for i, v := range values {
		paths := files[fmt.Sprint(i)]
		if len(paths) != 2 {
			t.Errorf("the record %.50q is in the files %q", v, paths)
		}
		for _, path := range paths {
			if other, ok := owners[path]; ok && other != v {
				t.Errorf("%.50q and %.50q share the file %s", v, other, path)
			}
			owners[path] = v
		}
	}
}

var nameTemplates = []string{"{{metadata:a}}/{{metadata:b}}.d", "{{metadata:a}}_{{metadata:b}}.d", "x.{{metadata:a}}.{{metadata:b}}.d"}

func TestNames_hostile(t *testing.T) {
	var values [][2]string
	for i, v := range hostile() {
		values = append(values, [2]string{v, "x"}, [2]string{"x", v}, [2]string{v, v}, [2]string{v, hostile()[(i+1)%len(hostile())]})
	}
	for _, template := range nameTemplates {
		checkNames(t, template, values)
	}
	// Pairs of which the parts, one behind the other, are the same.
	random := rand.New(rand.NewPCG(5, 6))
	values = nil
	for range 20 {
		text := ""
		for range 1 + random.IntN(6) {
			text += []string{"_", "%", ".", "5F", "0", "000001", "d", " ", "~"}[random.IntN(9)]
		}
		for cut := range len(text) + 1 {
			values = append(values, [2]string{text[:cut], text[cut:]})
			if cut < len(text) {
				values = append(values, [2]string{text[:cut], text[cut+1:]})
			}
		}
	}
	for _, template := range nameTemplates {
		checkNames(t, template, values)
	}
}

func FuzzNames(f *testing.F) {
	for i, v := range hostile() {
		f.Add(v, "x", hostile()[(i+1)%len(hostile())], v)
	}
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		for _, template := range nameTemplates {
			checkNames(t, template, [][2]string{{a, b}, {c, d}, {b, a}})
		}
	})
}

// No symbolic link leads a record out of the directory.
func TestNames_links(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	dir := t.TempDir()
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	d := openDestination(t, filepath.Join(root, "{{metadata:a}}", "x.d"), file.Lines)
	for _, d := range []string{outside, filepath.Join(root, "inside"), filepath.Join(root, "file"), filepath.Join(root, "loop")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"relative": "../outside", "absolute": outside, "dangling": filepath.Join(dir, "missing"), "alias": "inside",
		"file/x.d": "../../outside/x.d", "loop/x.d": "x.d",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	var recs []opencdc.Record
	names := []string{"relative", "absolute", "dangling", "file", "loop", "inside"}
	for _, name := range names {
		rec := raw("to " + name)
		rec.Metadata = opencdc.Metadata{"a": name}
		recs = append(recs, rec)
	}
	for i, err := range deliver(t, d, recs...) {
		if i < 5 {
			wantError(t, err, names[i], "cannot be a file below")
		} else if err != nil {
			t.Error(err)
		}
	}
	if got := tree(t, outside); got != "" {
		t.Errorf("outside there is %s", got)
	}
	rec := raw("to alias")
	rec.Metadata = opencdc.Metadata{"a": "alias"}
	wantError(t, deliver(t, d, rec)[0], "alias", "inside", "the same file")
	wantContent(t, filepath.Join(root, "inside", "x.d"), "to inside\n")
}

// A name that cannot be that of a file is the fault of the record.
func TestNames_unfit(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, dir+"/{{metadata:a}}"+strings.Repeat("/{{metadata:b}}", 20), file.Lines)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "dir"+strings.Repeat("/x", 20)), 0o755); err != nil {
		t.Fatal(err)
	}
	var recs []opencdc.Record
	for _, v := range [][2]string{{"file", "x"}, {"dir", "x"}, {"a", strings.Repeat("x", 240)}, {"b", "x"}} {
		rec := raw("text")
		rec.Metadata = opencdc.Metadata{"a": v[0], "b": v[1]}
		recs = append(recs, rec)
	}
	errs := deliver(t, d, recs...)
	wantError(t, errs[0], filepath.Join(dir, "file"))
	wantError(t, errs[1], "is a directory")
	wantError(t, errs[2], "too long")
	if errs[3] != nil {
		t.Error(errs[3])
	}
}

// No more files than allowed are open, and none of them loses anything.
func TestWithMaxOpenFiles(t *testing.T) {
	for _, limit := range []int{1, 3} {
		dir := t.TempDir()
		fsys := disktest.New(t, dir)
		d := openDestination(t, filepath.Join(dir, "{{metadata:a}}.csv"), file.CSV, columnA, file.WithDisk(fsys), file.WithMaxOpenFiles(limit))
		want := make(map[string]string)
		random := rand.New(rand.NewPCG(7, 8))
		for i := range 20 {
			var recs []opencdc.Record
			for j := range 6 {
				to := string(rune('a' + random.IntN(6)))
				rec := fields("a", fmt.Sprint(i, "\n", j))
				rec.Metadata = opencdc.Metadata{"a": to}
				recs = append(recs, rec)
				if want[to] == "" {
					want[to] = "a\n"
				}
				want[to] += fmt.Sprintf("\"%d\n%d\"\n", i, j)
			}
			mustWrite(t, d, recs...)
		}
		for to, text := range want {
			wantContent(t, filepath.Join(dir, to+".csv"), text)
		}
		open, most, reads := 0, 0, 0
		for _, c := range fsys.Calls() {
			switch c.Kind {
			case disktest.Open:
				open++
			case disktest.Close:
				open--
			case disktest.Read:
				reads++
			}
			most = max(most, open)
		}
		if most != limit {
			t.Errorf("%d files were open, want %d", most, limit)
		}
		if reads > 0 {
			t.Errorf("files that the destination has closed itself were read %d times", reads)
		}
	}
}

// The file that was not written to for the longest time is closed.
func TestWithMaxOpenFiles_leastRecentlyUsed(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	d := openDestination(t, filepath.Join(dir, "{{metadata:to}}"), file.Lines, file.WithDisk(fsys), file.WithMaxOpenFiles(2))
	for _, name := range []string{"a", "b", "a", "c", "a", "b"} {
		mustWrite(t, d, to(name, "text"))
	}
	var closed []string
	for _, c := range fsys.Calls() {
		if c.Kind == disktest.Close {
			closed = append(closed, c.Name)
		}
	}
	if got := strings.Join(closed, " "); got != "b c" {
		t.Errorf("the files %s were closed, want b c", got)
	}
}
