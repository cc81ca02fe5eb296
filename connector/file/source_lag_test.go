package file_test

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// wantLag checks the lag of a followed source.
func (f *follower) wantLag(records int64, behind time.Duration) {
	f.t.Helper()
	n, d, err := f.s.Lag(context.Background())
	if n != records || d != behind || err != nil {
		f.t.Fatalf("the lag is %d records and %v, error %v, want %d and %v", n, d, err, records, behind)
	}
}

// read returns the records of one Read.
func (f *follower) read(n int) []opencdc.Record {
	f.t.Helper()
	recs, err := f.s.Read(context.Background())
	must(f.t, err)
	if len(recs) != n {
		f.t.Fatalf("got %d records, want %d", len(recs), n)
	}
	return recs
}

func (f *follower) ack(last opencdc.Record) {
	f.t.Helper()
	must(f.t, f.s.Ack(context.Background(), []opencdc.Position{last.Position}))
}

// The lag counts records that were read, and estimates those in the files.
func TestSource_Lag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := write(t, dir, "a", numbered(0, 9))
		f := follow(t, dir, file.Lines, nil, file.WithBatch(4, 1<<20))
		defer f.close()
		time.Sleep(time.Second)
		f.wantLag(-1, time.Second)
		recs := f.read(4)
		f.wantLag(10, time.Second)
		f.ack(recs[1])
		f.wantLag(8, time.Second)
		f.ack(recs[3])
		grow(t, a, "10\n11\n12\n") // 12 bytes and these 9, with a mean of 2, count as 11
		time.Sleep(time.Second)
		f.wantLag(6, 2*time.Second)
		recs = f.read(4)
		f.wantLag(4+7, 2*time.Second)
		f.ack(recs[3])
		recs = f.read(4)
		f.ack(recs[1]) // the records that were there first
		time.Sleep(time.Second)
		f.wantLag(2+2, time.Second)
		f.ack(recs[3])
		f.ack(f.read(1)[0])
		f.wantLag(0, 0)

		// What is not a record does not count.
		grow(t, a, "1")
		f.want()
		f.wantLag(0, 0)
		grow(t, a, "3\n")
		last := f.read(1)[0]
		grow(t, a, "1")
		f.want()
		f.wantLag(1, 3*time.Second)
		f.ack(last)
		f.wantLag(0, 0)
		f.want()
		f.wantLag(0, 0)

		// The mean is that of the records since Open.
		write(t, dir, "b", "long record\nlong record\nlong record\n")
		again := follow(t, dir, file.Lines, last.Position, file.WithBatch(1, 1<<20))
		defer again.close()
		again.read(1)
		again.wantLag(1+3, 0) // 24 bytes here and 1 in the other file
	})
}

// The age is that of the first record that is not acked, however many come after it.
func TestSource_lagOfSteadyWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := filepath.Join(t.TempDir(), "a")
		grow(t, a, "")
		f := follow(t, a, file.Lines, nil)
		defer f.close()
		for range 100 {
			grow(t, a, "1\n")
			recs := f.read(1)
			time.Sleep(time.Second)
			f.wantLag(1, time.Second)
			f.ack(recs[0])
		}
		grow(t, a, "1\n")
		first := f.read(1)[0]
		for n := range 200 {
			time.Sleep(time.Second)
			grow(t, a, "1\n")
			f.read(1)
			f.wantLag(int64(n+2), time.Duration(n+1)*time.Second)
		}
		f.ack(first)
		if _, behind, _ := f.s.Lag(context.Background()); behind < 199*time.Second || behind > 200*time.Second {
			t.Errorf("the second record is %v old", behind)
		}
	})
}

// A source that is not followed is not behind when it has ended, and begins anew with Open.
func TestSource_lagAtEnd(t *testing.T) {
	ctx := context.Background()
	path := write(t, t.TempDir(), "a", numbered(0, 9))
	s := opened(t, path, file.Lines, nil)
	recs := mustReadAll(t, s)
	if n, behind, _ := s.Lag(ctx); n != 10 || behind <= 0 {
		t.Errorf("the lag is %d records and %v", n, behind)
	}
	must(t, s.Ack(ctx, []opencdc.Position{recs[9].Position}))
	if n, behind, _ := s.Lag(ctx); n != 0 || behind != 0 {
		t.Errorf("the lag is %d records and %v", n, behind)
	}
	must(t, s.Teardown(ctx))
	must(t, s.Open(ctx))
	if n, _, _ := s.Lag(ctx); n != 0 {
		t.Errorf("opened again, the lag is %d records", n)
	}
}
