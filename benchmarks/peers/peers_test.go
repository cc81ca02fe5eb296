package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var starts = map[string]func(*work) (peer, error){
	"benthos":   startBenthos,
	"watermill": startWatermill,
}

// start starts a peer that the test closes in the end.
func start(t *testing.T, series string, w *work) peer {
	t.Helper()
	p, err := starts[series](w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

func TestEveryRecordIsDeliveredInOrderAndAcked(t *testing.T) {
	for series := range starts {
		for _, batch := range []int{1, 3, 100} {
			for destinations := 1; destinations <= 3; destinations++ {
				t.Run(fmt.Sprintf("%s/batch %d/destinations %d", series, batch, destinations), func(t *testing.T) {
					const different = 3
					w := newWork(batch, different, destinations)
					for i, d := range w.destinations {
						next := 0
						d.look = func(payload []byte) error {
							if want := fmt.Sprintf("%064d", next%(different*batch)); string(payload) != want {
								t.Errorf("record %d at destination %d: got %s, want %s", next, i, payload, want)
							}
							next++
							return nil
						}
					}
					p := start(t, series, w)
					done := 0
					for _, batches := range []int{1, 2, 10, 0, 1} {
						if err := p.run(batches); err != nil {
							t.Fatal(err)
						}
						done += batches
						if err := w.check(p, done); err != nil {
							t.Errorf("after %d batches: %v", done, err)
						}
					}
				})
			}
		}
	}
}

func TestARefusedRecordIsNotAcked(t *testing.T) {
	const batch, accepted = 5, 12
	for series := range starts {
		for refusing := range 2 {
			t.Run(fmt.Sprintf("%s/destination %d", series, refusing), func(t *testing.T) {
				w := newWork(batch, 4, 2)
				seen := 0
				w.destinations[refusing].look = func([]byte) error {
					if seen++; seen > accepted {
						return errors.New("refused")
					}
					return nil
				}
				p := start(t, series, w)
				if err := p.run(4); err == nil {
					t.Error("the round has not failed")
				}
				// A batch may be acked as a whole only.
				if n := p.acked(); n != accepted && n != accepted/batch*batch {
					t.Errorf("%d records were acked, %d were accepted", n, accepted)
				}
			})
		}
	}
}

func TestCheckFindsWhatIsMissing(t *testing.T) {
	w := newWork(5, 1, 2)
	p := start(t, "watermill", w)
	if err := p.run(2); err != nil {
		t.Fatal(err)
	}
	if err := w.check(p, 3); err == nil || !strings.Contains(err.Error(), "10 of 15 records were acked") {
		t.Errorf("got %v for acks that are missing", err)
	}
	w.destinations[1].records.Add(-1)
	if err := w.check(p, 2); err == nil || !strings.Contains(err.Error(), "destination 1 got 9 of 10 records") {
		t.Errorf("got %v for a record that is missing", err)
	}
}

func TestRunWritesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	var table bytes.Buffer
	if err := run(&table, file, plan{passes: 1, rounds: 1, round: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Environment struct {
			Go, OS, Arch string
			CPUs         int
		}
		Points []struct {
			Case, Series string
			X            int
			NS, Allocs   float64
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if e := got.Environment; e.Go != runtime.Version() || e.OS != runtime.GOOS || e.Arch != runtime.GOARCH || e.CPUs < 1 {
		t.Errorf("got the environment %+v", e)
	}
	points := points()
	if len(got.Points) != len(points) {
		t.Fatalf("got %d points, want %d", len(got.Points), len(points))
	}
	for i, p := range got.Points {
		if want := points[i]; p.Case != want.name || p.Series != want.series || p.X != want.x {
			t.Errorf("point %d is %+v", i, p)
		}
		if p.NS <= 0 || p.Allocs <= 0 {
			t.Errorf("point %d costs nothing: %+v", i, p)
		}
	}
	if rows := strings.Count(table.String(), "\n"); rows != 2+len(points)/2 {
		t.Errorf("the table has %d rows:\n%s", rows, table.String())
	}
}

func TestMedian(t *testing.T) {
	rounds := []cost{{9, 1}, {1, 4}, {3, 3}}
	if got, want := median(rounds), (cost{3, 3}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := median(append(rounds, cost{5, 2})), (cost{4, 2.5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPoint_best(t *testing.T) {
	p := point{passes: []cost{{3, 1}, {2, 5}, {4, 1}}}
	if got, want := p.best(), (cost{2, 5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 12.345678: "12.35", 123456.7: "123500", 0.0020304: "0.00203", 9.9999e-7: "0.000001", 2.5: "2.5",
	} {
		if got := digits(v); got != want {
			t.Errorf("got %s for %g, want %s", got, v, want)
		}
	}
}
