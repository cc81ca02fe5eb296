package docs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

import (
	"path/filepath"
	"testing"
)

func insertUsers(ctx context.Context) error {
	table := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		errs := make(funnel.RecordErrors, len(records)) // one for each record
		for i, record := range records {
			name := string(record.Key.Bytes())
			if name == "" {
				errs[i] = errors.New("a row needs a key")
				continue
			}
			fmt.Println("insert", name)
		}
		return errs
	})
	return funnel.From("users", funnel.SliceSource(userRow("ann"), userRow(""), userRow("bob"))).
		To("table", table).
		DeadLetters("refused", funnel.DestinationFunc(printRefused), 100, 10).
		Run(ctx)
}

func userRow(name string) opencdc.Record {
	return opencdc.Record{
		Key:     opencdc.RawData(name),
		Payload: opencdc.Change{After: opencdc.RawData("user " + name)},
	}
}

func printRefused(_ context.Context, letters []opencdc.Record) error {
	for _, letter := range letters {
		reason, err := letter.Metadata.GetConduitDLQNackError()
		if err != nil {
			return err
		}
		fmt.Println("dead letter:", reason)
	}
	return nil
}

func Example_destinationFunc() {
	if err := insertUsers(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// insert ann
	// insert bob
	// dead letter: a row needs a key
}

// lineFile is a destination that appends the payload of each record to a file.
type lineFile struct {
	path string
	file *os.File
	acks []connector.DestinationAck
}

func (d *lineFile) ID() string           { return d.path }
func (d *lineFile) Errors() <-chan error { return nil }

func (d *lineFile) Open(context.Context) (err error) {
	d.file, err = os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

func (d *lineFile) Write(_ context.Context, records []opencdc.Record) error {
	d.acks = d.acks[:0] // the engine is done with those of the last Write
	var lines []byte
	for _, record := range records {
		ack := connector.DestinationAck{Position: record.Position}
		if record.Payload.After == nil {
			ack.Error = errors.New("the record has no payload")
		} else {
			lines = append(append(lines, record.Payload.After.Bytes()...), '\n')
		}
		d.acks = append(d.acks, ack)
	}
	_, err := d.file.Write(lines)
	return err
}

func (d *lineFile) Ack(context.Context) ([]connector.DestinationAck, error) {
	if err := d.file.Sync(); err != nil {
		return nil, err
	}
	return d.acks, nil
}

func (d *lineFile) Teardown(context.Context) error { return d.file.Close() }

func appendLines(ctx context.Context, path string) error {
	records := []opencdc.Record{userRow("ann"), {Key: opencdc.RawData("bob")}, userRow("cid")}
	err := funnel.From("users", funnel.SliceSource(records...)).
		To("file", &lineFile{path: path}).
		DeadLetters("refused", funnel.DestinationFunc(printRefused), 100, 10).
		Run(ctx)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	fmt.Printf("%s", text)
	return err
}

func Example_destinationFile() {
	dir, err := os.MkdirTemp("", "funnel")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := appendLines(context.Background(), filepath.Join(dir, "users.txt")); err != nil {
		fmt.Println(err)
	}
	// Output:
	// dead letter: the record has no payload
	// user ann
	// user cid
}

func deliverTwice(ctx context.Context) error {
	rows := map[string]string{}
	upsert := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, record := range records {
			id := string(record.Key.Bytes()) + "/" + record.Metadata[funnel.MetadataPieceID]
			rows[id] = string(record.Payload.After.Bytes())
		}
		return nil
	})
	order := opencdc.Record{
		Key:     opencdc.RawData("order 7"),
		Payload: opencdc.Change{After: opencdc.RawData("tea,milk")},
	}
	for range 2 { // as after a crash
		err := funnel.From("orders", funnel.SliceSource(order)).
			Through("items", funnel.Split(orderItems)).
			To("rows", upsert).
			Options(funnel.WithPieceIDs()).
			Run(ctx)
		if err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		fmt.Println(id, rows[id])
	}
	return nil
}

func orderItems(order opencdc.Record) ([]opencdc.Record, error) {
	var items []opencdc.Record
	for name := range strings.SplitSeq(string(order.Payload.After.Bytes()), ",") {
		item := order
		item.Payload.After = opencdc.RawData(name)
		items = append(items, item)
	}
	return items, nil
}

func Example_destinationUpserts() {
	if err := deliverTwice(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order 7/0 tea
	// order 7/1 milk
}

// busyAPI returns a destination that refuses b, once.
func busyAPI() funnel.Destination {
	hasRefused := false
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		errs := make(funnel.RecordErrors, len(records))
		fmt.Print("  POST")
		for i, record := range records {
			name := string(record.Key.Bytes())
			fmt.Print(" ", name)
			if name == "b" && !hasRefused {
				hasRefused = true
				errs[i] = errors.New("429 Too Many Requests")
			}
		}
		fmt.Println()
		return errs
	})
}

func compareDecorators(ctx context.Context) error {
	retry := funnel.DestinationRetry{MaxAttempts: 3, MinPause: 10 * time.Millisecond}
	two, one := funnel.WriteLimit{Records: 2}, funnel.WriteLimit{Records: 1}
	for _, c := range []struct {
		name string
		d    funnel.Destination
	}{
		{"retry", funnel.NewRetryDestination(busyAPI(), retry)},
		{"retry of limited writes", funnel.NewRetryDestination(funnel.NewLimitedDestination(busyAPI(), two), retry)},
		{"limit of retried writes", funnel.NewLimitedDestination(funnel.NewRetryDestination(busyAPI(), retry), two)},
		{"one at a time", funnel.NewLimitedDestination(funnel.NewRetryDestination(busyAPI(), retry), one)},
	} {
		fmt.Println(c.name)
		records := funnel.SliceSource(userRow("a"), userRow("b"), userRow("c"), userRow("d"))
		if err := funnel.From("users", records).To("api", c.d).Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func Example_destinationDecorators() {
	if err := compareDecorators(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// retry
	//   POST a b c d
	//   POST b
	// retry of limited writes
	//   POST a b
	//   POST c d
	//   POST b
	// limit of retried writes
	//   POST a b
	//   POST b
	//   POST c d
	// one at a time
	//   POST a
	//   POST b
	//   POST b
	//   POST c
	//   POST d
}

func postInLanes(ctx context.Context) error {
	var mu sync.Mutex
	posted := map[string]int{}
	api := funnel.NewPartitionedDestination(4,
		func(record opencdc.Record) string { return string(record.Key.Bytes()) },
		func(lane int) (funnel.Destination, error) { // a destination for each lane
			d := funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
				mu.Lock()
				defer mu.Unlock()
				for _, record := range records {
					posted[string(record.Key.Bytes())]++
				}
				return nil
			})
			return funnel.NewRetryDestination(d, funnel.DestinationRetry{}), nil
		})
	records := funnel.SliceSource(userRow("a"), userRow("b"), userRow("a"), userRow("c"))
	if err := funnel.From("users", records).To("api", api).Run(ctx); err != nil {
		return err
	}
	fmt.Println(posted)
	return nil
}

func Example_destinationLanes() {
	if err := postInLanes(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// map[a:2 b:1 c:1]
}

// pace is a limiter that lets one record pass per interval.
type pace time.Duration

func (p pace) WaitN(ctx context.Context, n int) error {
	select {
	case <-time.After(time.Duration(n) * time.Duration(p)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func postSlowly(ctx context.Context) error {
	begin := time.Now()
	err := funnel.From("users", funnel.SliceSource(userRow("a"), userRow("b"), userRow("c"))).
		Step(funnel.NewRateLimitTask("ten a second", pace(100*time.Millisecond))).
		To("api", busyAPI()).
		DeadLetters("refused", funnel.DestinationFunc(printRefused), 100, 10).
		Run(ctx)
	fmt.Println("after", time.Since(begin).Round(100*time.Millisecond))
	return err
}

func TestDestinationPace(t *testing.T) {
	wantBubbleOutput(t, postSlowly, `
  POST a b c
dead letter: 429 Too Many Requests
after 300ms
`)
}
