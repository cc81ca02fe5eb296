package file_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/clock"
	"github.com/conduitio/funnel/internal/disk/disktest"
)

func TestRotation_bytes(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "out.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 6}))
	mustWrite(t, d, raw("a"))
	mustWrite(t, d, raw("b"), raw("c"))         // six bytes fit
	mustWrite(t, d, raw("d"))                   // one more does not
	mustWrite(t, d, raw("long line"), raw("e")) // a Write stays together
	mustWrite(t, d, raw("f"))
	deliver(t, d, raw("refused\n"))
	want := "out.000001.txt=a\nb\nc\n out.000002.txt=d\n out.000003.txt=long line\ne\n out.txt=f\n"
	if got := tree(t, dir); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A large Write stays in one file.
func TestRotation_largeWrite(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "out.csv"), file.CSV, columnA, file.WithRotation(file.Rotation{Bytes: 100}))
	long := strings.Repeat("x", file.MaxAppend)
	for range 2 {
		mustWrite(t, d, fields("a", 1), fields("a", long), fields("a", 2), fields("a", long), fields("a", 3))
	}
	want := "a\n1\n" + long + "\n2\n" + long + "\n3\n"
	wantContent(t, filepath.Join(dir, "out.000001.csv"), want)
	wantContent(t, filepath.Join(dir, "out.csv"), want)
}

func TestRotation_age(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.csv")
	if err := os.WriteFile(path, []byte("a\n0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	if err := os.Chtimes(path, start, start.Add(-5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	d := newDestination(t, path, file.CSV, columnA, file.WithRotation(file.Rotation{Age: time.Hour}))
	open(t, clock.With(t.Context(), func() time.Time { return now }), d)
	at := func(after time.Duration, text string) {
		now = start.Add(after)
		mustWrite(t, d, fields("a", text))
	}
	at(54*time.Minute, "1")
	at(55*time.Minute, "2") // the file was last written five minutes before it was opened
	at(114*time.Minute, "3")
	at(-24*time.Hour, "4") // a clock that jumps back does no harm
	at(115*time.Minute, "5")
	at(-24*time.Hour, "6")
	at(-23*time.Hour, "7") // nor does one that stays there
	want := "out.000001.csv=a\n0\n1\n out.000002.csv=a\n2\n3\n4\n out.000003.csv=a\n5\n6\n out.csv=a\n7\n"
	if got := tree(t, dir); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The numbers go on behind the highest one, and no file is overwritten.
func TestRotation_numbers(t *testing.T) {
	dir := t.TempDir()
	others := []string{
		"out.000002.txt", "out.000041.txt", "out.42.txt", "out.000099", "xout.000099.txt", "out.000099.txtx", "out.00009x.txt", "out.-00099.txt", "out.99999999999999999999999.txt",
	}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("other"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		d := newDestination(t, filepath.Join(dir, "out.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 1}))
		if err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		for j := range 2 {
			if i == 1 && j == 1 { // it takes the number that is next
				if err := os.WriteFile(filepath.Join(dir, "out.000044.txt"), []byte("other"), 0o644); err != nil {
					t.Fatal(err)
				}
				others = append(others, "out.000044.txt")
			}
			mustWrite(t, d, raw(fmt.Sprint(i, j)))
		}
		if err := d.Teardown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"out.000042.txt": "0 0\n", "out.000043.txt": "0 1\n", "out.000045.txt": "1 0\n", "out.000046.txt": "1 1\n", "out.000047.txt": "2 0\n", "out.txt": "2 1\n",
	} {
		wantContent(t, filepath.Join(dir, name), want)
	}
	for _, name := range others {
		wantContent(t, filepath.Join(dir, name), "other")
	}
}

// A number is not given again when its file was compressed.
func TestRotation_compressed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"out.000007.txt.gz", "out.000002.txt.zst"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := openDestination(t, filepath.Join(dir, "out.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 1}))
	mustWrite(t, d, raw("1"))
	mustWrite(t, d, raw("2"))
	if got, want := tree(t, dir), "out.000002.txt.zst= out.000007.txt.gz= out.000008.txt=1\n out.txt=2\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Each name has numbers of its own.
func TestRotation_namesFromRecords(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "{{metadata:a}}", "x-{{metadata:b}}.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 2}), file.WithMaxOpenFiles(1))
	for i := range 3 {
		var recs []opencdc.Record
		for _, b := range []string{"1", "2"} {
			rec := raw(fmt.Sprint(i))
			rec.Metadata = opencdc.Metadata{"a": "d", "b": b}
			recs = append(recs, rec)
		}
		mustWrite(t, d, recs...)
	}
	want := "d/x-1.000001.txt=0\n d/x-1.000002.txt=1\n d/x-1.txt=2\n d/x-2.000001.txt=0\n d/x-2.000002.txt=1\n d/x-2.txt=2\n"
	if got := tree(t, dir); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// No record chooses the name of a rotated file.
func TestRotation_namesLikeRotated(t *testing.T) {
	dir := t.TempDir()
	d := openDestination(t, filepath.Join(dir, "{{metadata:to}}.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 2}))
	for _, name := range []string{"a", "a", "a.000001", "a.x"} {
		mustWrite(t, d, to(name, name))
	}
	if got := tree(t, dir); got != "a%2E000001.txt=a.000001\n a.000001.txt=a\n a.txt=a\n a.x.txt=a.x\n" {
		t.Errorf("got %q", got)
	}
}

// The old file is synced before it is renamed, and has its new name for certain before the
// new one is made, which is synced before the ack.
func TestRotation_order(t *testing.T) {
	dir := t.TempDir()
	fsys := disktest.New(t, dir)
	d := openDestination(t, filepath.Join(dir, "out.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 2}), file.WithDisk(fsys))
	mustWrite(t, d, raw("1"))
	before := len(fsys.Calls())
	mustWrite(t, d, raw("2"))
	var got []string
	for _, c := range fsys.Calls()[before:] {
		if c.Kind != disktest.Stat && c.Kind != disktest.Describe {
			got = append(got, c.String())
		}
	}
	want := "rename out.txt to out.000001.txt; syncdir .; create out.txt; lock out.txt; close out.txt; write out.txt, 2 bytes at 0; sync out.txt; syncdir ."
	if text := strings.ReplaceAll(strings.Join(got, "; "), dir+"/", ""); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// A failure in the midst of a rotation loses nothing.
func TestRotation_failures(t *testing.T) {
	fault := errors.New("the disk is broken")
	for n := 0; ; n++ {
		dir := t.TempDir()
		fsys := disktest.New(t, dir)
		d := openDestination(t, filepath.Join(dir, "out.txt"), file.Lines, file.WithRotation(file.Rotation{Bytes: 2}), file.WithDisk(fsys))
		mustWrite(t, d, raw("1"))
		fsys.Note("1\n")
		calls := 0
		fsys.SetHook(func(disktest.Call) error {
			if calls++; calls == n+1 {
				return fault
			}
			return nil
		})
		err := d.Write(t.Context(), []opencdc.Record{raw("2")})
		fsys.SetHook(nil)
		if calls <= n {
			if err != nil || n < 8 {
				t.Errorf("%d calls, %v", n, err)
			}
			return
		}
		if !errors.Is(err, fault) {
			t.Errorf("fault %d: %v", n, err)
		}
		if err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, d, raw("3"))
		fsys.Note("3\n")
		if all := rotatedContent(dir); all != "1\n3\n" {
			t.Errorf("fault %d: the files are %q", n, tree(t, dir))
		}
		for crash := range fsys.Crashes(t, disktest.Sample{}) {
			for _, text := range crash.Notes {
				if !strings.Contains(rotatedContent(crash.Dir), text.(string)) {
					t.Errorf("fault %d, %s: the record %q is lost", n, crash, text)
				}
			}
		}
	}
}

// rotatedContent returns the content of out.txt and its rotated files, in order.
func rotatedContent(dir string) string {
	all := ""
	for _, name := range []string{"out.000001.txt", "out.000002.txt", "out.txt"} {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		all += string(text)
	}
	return all
}
