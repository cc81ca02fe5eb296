package report

import "testing"

func TestNanoseconds(t *testing.T) {
	for ns, want := range map[float64]string{
		0: "0.00 ns", 1.234: "1.23 ns", 9.994: "9.99 ns", 9.996: "10.0 ns", 99.94: "99.9 ns", 99.96: "100 ns",
		999.4: "999 ns", 999.6: "1.00 µs", 1_500: "1.50 µs", 999_600: "1.00 ms", 2_100_000: "2.10 ms", 3e9: "3.00 s", 4e12: "4000 s",
		-8.5: "-8.50 ns", -1_234: "-1.23 µs",
	} {
		if got := nanoseconds(ns); got != want {
			t.Errorf("%v: got %q, want %q", ns, got, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.0001: "< 0.001", 0.00051: "0.001", 0.0123: "0.012", 2: "2", 7.0021: "7.002", -1: "-1", -0.0001: "0"} {
		if got := allocations(n); got != want {
			t.Errorf("%v: got %q, want %q", n, got, want)
		}
	}
}
