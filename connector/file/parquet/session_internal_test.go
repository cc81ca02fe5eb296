package parquet

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/parquet-go/parquet-go"
)

// countdown is a context that ends after it was asked for its error some number of times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever a context ends, no row is lost or read twice.
func TestSession_endsAnywhere(t *testing.T) {
	type single struct {
		V int64    `parquet:"v"`
		L []string `parquet:"l"`
	}
	rows := make([]single, 300)
	for i := range rows {
		rows[i] = single{int64(i), []string{"text", fmt.Sprint(i)}[:i%3%2+1]}
	}
	dir := t.TempDir()
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := parquet.WriteFile(path, rows[100*i:100*i+100], parquet.PageBufferSize(100), parquet.MaxRowsPerRowGroup(60)); err != nil {
			t.Fatal(err)
		}
	}
	config, err := newConfig([]Option{WithBatch(50, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(config, readState{}, func(SourceStats) {})
	if err := s.open(context.Background(), dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	n, ended := 0, 0
	for left := 0; ; left = (left + 7) % 500 {
		recs, err := s.Read(&countdown{context.Background(), left})
		for _, rec := range recs {
			if v := rec.Payload.After.(opencdc.StructuredData)["v"]; v != int64(n) {
				t.Fatalf("row %d is %v", n, v)
			}
			n++
		}
		switch err {
		case nil:
			continue
		case context.Canceled:
			ended++
			continue
		case io.EOF:
		default:
			t.Fatal(err)
		}
		break
	}
	if n != len(rows) || ended == 0 {
		t.Errorf("%d rows were read, and %d reads were ended", n, ended)
	}
}

// Wherever a context ends, the rows after a damaged row stay unread.
func TestSession_endsAtDamage(t *testing.T) {
	type pair struct {
		A int64 `parquet:"a"`
		B int32 `parquet:"b,optional,int(8)"`
	}
	path := filepath.Join(t.TempDir(), "a")
	rows := make([]pair, 20)
	for i := range rows {
		rows[i] = pair{int64(i + 1), int32(i + 1)}
	}
	rows[9].B = 1000
	if err := parquet.WriteFile(path, rows); err != nil {
		t.Fatal(err)
	}
	config, err := newConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	for left := range 100 {
		s := newSession(config, readState{}, func(SourceStats) {})
		if err := s.open(context.Background(), path); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range 5 {
			ctx := context.Background()
			if i == 0 {
				ctx = &countdown{ctx, left}
			}
			recs, err := s.Read(ctx)
			n += len(recs)
			if n > 9 || i == 4 && (n < 9 || err == nil) {
				t.Fatalf("the context ended after %d calls: %d rows were read, and then the error is %v", left, n, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that was read in part, and is replaced after Open, is an error.
func TestSession_replacedAfterOpen(t *testing.T) {
	type single struct{ V int64 }
	path := filepath.Join(t.TempDir(), "a")
	write := func(values ...single) {
		if err := parquet.WriteFile(path, values); err != nil {
			t.Fatal(err)
		}
	}
	write(single{1}, single{2}, single{3})
	s, err := NewSource(path, nil, WithBatch(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	recs, err := s.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(ctx, []opencdc.Position{recs[0].Position}); err != nil {
		t.Fatal(err)
	}
	if err := s.Teardown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(single{4}, single{5}, single{6})
	_, err = s.Read(ctx)
	if want := fmt.Sprintf("parquet source: file %q, row 2: %v", path, errChanged); err == nil || err.Error() != want {
		t.Errorf("got the error %v, want %s", err, want)
	}
	if err := s.Teardown(ctx); err != nil {
		t.Fatal(err)
	}
}
