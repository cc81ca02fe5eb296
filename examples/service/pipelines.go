package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/otel"
	"github.com/conduitio/funnel/position"
)

//go:embed prices.json
var firstPrices []byte

// shop makes the pipelines. Each run of a pipeline gets new ones.
type shop struct {
	dir    string
	logger log.CtxLogger
	orders *funnel.ChannelSource // of all runs, since customers order at any time

	mu  sync.Mutex
	sum map[string]float64 // of each order, which a pipeline may deliver again
}

// order is what a customer sends, and later its total.
type order struct {
	ID    string  `json:"id"`
	Item  string  `json:"item"`
	Count int     `json:"count"`
	Total float64 `json:"total,omitempty"`
}

// change changes the order in a record. If that fails, the record is a dead letter.
func change(f func(*order) error) funnel.Processor {
	return funnel.Map(func(rec opencdc.Record) (opencdc.Record, error) {
		var o order
		err := json.Unmarshal(rec.Payload.After.Bytes(), &o)
		if err == nil {
			err = f(&o)
		}
		text, err2 := json.Marshal(o)
		rec.Payload.After = opencdc.RawData(text)
		return rec, errors.Join(err, err2)
	})
}

// intake stores orders. It is what postOrder waits for.
func (s *shop) intake() (*funnel.Pipeline, error) {
	trace, err1 := otel.NewInjectTask("trace") // pricing links its spans to those of intake
	orders, err2 := s.write("orders/orders.jsonl")
	refused, err3 := s.write("refused/intake.jsonl")
	return funnel.From("customers", s.orders).
		Through("check", change(func(o *order) error {
			// What is not Unicode is decoded as U+FFFD, so two IDs could become one.
			if o.ID == "" || strings.ContainsRune(o.ID, '\uFFFD') || o.Item == "" || o.Count < 1 {
				return errors.New("an order needs an id, an item and a count")
			}
			return nil
		})).
		Step(trace).
		To("orders", orders).
		DeadLetters("refused", refused, 0, 0), errors.Join(err1, err2, err3)
}

// pricing prices orders. More than 10 of 100 without a price: that is for somebody to look at.
func (s *shop) pricing() (*funnel.Pipeline, error) {
	return s.price("orders", s.follow, "refused/pricing.jsonl", 100, 10)
}

// replay prices the orders again that pricing has refused. Those that it refuses, too, stay in
// a file of their own.
func (s *shop) replay() (*funnel.Pipeline, error) {
	letters := func(id string, positions position.Store) funnel.Source {
		return position.Track(id, positions, func(from opencdc.Position) (funnel.Source, error) {
			return file.NewDeadLetterSource(filepath.Join(s.dir, "refused", "pricing*"), from, nil, file.WithLogger(s.logger))
		})
	}
	return s.price("replay", letters, "refused/replay.jsonl", 0, 0)
}

// price adds the totals. It reads prices.json, if there is one, when it starts.
func (s *shop) price(id string, source func(string, position.Store) funnel.Source, refusedName string, window, threshold int) (*funnel.Pipeline, error) {
	path := filepath.Join(s.dir, "prices.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text, err = firstPrices, nil
	}
	var prices map[string]float64
	if err := errors.Join(err, json.Unmarshal(text, &prices)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	positions, err1 := position.NewFiles(filepath.Join(s.dir, "positions"))
	priced, err2 := s.write("priced/priced.jsonl")
	refused, err3 := s.write(refusedName)
	return funnel.From(id, source(id, positions)).
		Through("price", change(func(o *order) error {
			if prices[o.Item] == 0 {
				return fmt.Errorf("%q has no price", o.Item)
			}
			o.Total = float64(o.Count) * prices[o.Item]
			return nil
		})).
		To("priced", priced).
		DeadLetters("refused", refused, window, threshold), errors.Join(err1, err2, err3)
}

// totals adds up the orders. It has them in memory, so each run begins with the first one.
func (s *shop) totals() (*funnel.Pipeline, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum = map[string]float64{}
	return funnel.From("priced", s.follow("priced", position.NewMemory())).
		To("sum", funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, rec := range records {
				var o order
				if err := json.Unmarshal(rec.Payload.After.Bytes(), &o); err != nil {
					return err
				}
				s.sum[o.ID] = o.Total
			}
			return nil
		})), nil
}

// write returns a destination of whole records.
func (s *shop) write(name string) (funnel.Destination, error) {
	return file.NewDestination(filepath.Join(s.dir, name), file.Records,
		file.WithRotation(file.Rotation{Bytes: 64 << 20}), file.WithLogger(s.logger))
}

// follow returns a source of all records in a directory, those to come included.
func (s *shop) follow(name string, positions position.Store) funnel.Source {
	return position.Track(name, positions, func(from opencdc.Position) (funnel.Source, error) {
		return file.NewSource(filepath.Join(s.dir, name, "*"), file.Records, from, file.WithFollow(), file.WithLogger(s.logger))
	})
}

// postOrder answers when the order is stored or refused, or after 5 s. The stored form has up to
// 8 bytes for each byte of an order, and must fit into the 1 MiB that follow reads as a line.
func (s *shop) postOrder(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "an order has at most 64 KiB, and comes soon", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	rec := opencdc.Record{Operation: opencdc.OperationCreate, Payload: opencdc.Change{After: opencdc.RawData(body)}}
	outcome, err := s.orders.Send(ctx, rec)
	switch {
	case outcome == funnel.OutcomeDeadLettered:
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case err != nil: // it names files, and the pages show it
		http.Error(w, "the order may not be stored: order it again", http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (s *shop) getTotals(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	orders, sum := len(s.sum), 0.0
	for _, total := range s.sum {
		sum += total
	}
	s.mu.Unlock() // a client that reads slowly must not hold up the pipeline
	fmt.Fprintf(w, "%d orders, %.2f in all\n", orders, sum)
}

// orderOften is a customer, who now and then wants what the shop does not sell.
func orderOften(ctx context.Context, url string) {
	for tick := time.Tick(time.Second); ctx.Err() == nil; <-tick {
		item := []string{"apple", "bread", "cheese", "unicorn"}[rand.IntN(301)/100]
		body := fmt.Sprintf(`{"id":%q,"item":%q,"count":%d}`, fmt.Sprint(rand.Uint64()), item, 1+rand.IntN(9))
		if resp, err := http.Post(url, "application/json", bytes.NewReader([]byte(body))); err == nil {
			resp.Body.Close()
		}
	}
}
