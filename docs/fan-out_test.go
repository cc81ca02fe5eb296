package docs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

// forkOrders is a source of orders with metadata.
func forkOrders(orders ...string) funnel.Source {
	var records []opencdc.Record
	for _, order := range orders {
		records = append(records, opencdc.Record{
			Metadata: opencdc.Metadata{"currency": "EUR"},
			Payload:  opencdc.Change{After: opencdc.RawData(order)},
		})
	}
	return funnel.SliceSource(records...)
}

// forkPrinter is a destination that prints.
func forkPrinter(name string) funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, r := range records {
			fmt.Printf("%s: %s %s\n", name, r.Payload.After.Bytes(), r.Metadata["currency"])
		}
		return nil
	})
}

// forkToDollars changes a record in place.
func forkToDollars(r opencdc.Record) (opencdc.Record, error) {
	r.Metadata["currency"] = "USD"
	return r, nil
}

func Example_fanOut() {
	err := funnel.From("orders", forkOrders("tea 5", "milk 2")).
		Fork(
			funnel.To("table", forkPrinter("table")),
			funnel.Through("dollars", funnel.Map(forkToDollars)).To("us", forkPrinter("us")),
		).
		Run(context.Background())
	fmt.Println(err)
	// Unordered output:
	// table: tea 5 EUR
	// table: milk 2 EUR
	// us: tea 5 USD
	// us: milk 2 USD
	// <nil>
}

// forkNoMilk is a destination that refuses milk.
func forkNoMilk() funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		errs := make(funnel.RecordErrors, len(records))
		for i, r := range records {
			if order := r.Payload.After.Bytes(); bytes.HasPrefix(order, []byte("milk")) {
				errs[i] = errors.New("no milk")
			} else {
				fmt.Printf("vegan: %s\n", order)
			}
		}
		return errs
	})
}

// forkRefused is a dead-letter queue that prints.
func forkRefused() funnel.Destination {
	return funnel.DestinationFunc(func(_ context.Context, records []opencdc.Record) error {
		for _, r := range records {
			reason, err := r.Metadata.GetConduitDLQNackError()
			if err != nil {
				return err
			}
			fmt.Printf("refused %s: %s\n", r.Position, reason)
		}
		return nil
	})
}

func Example_fanOutNack() {
	err := funnel.From("orders", forkOrders("tea 5", "milk 2", "soy 3")).
		Fork(
			funnel.To("table", forkPrinter("table")),
			funnel.To("vegan", forkNoMilk()),
		).
		DeadLetters("refused", forkRefused(), 100, 10).
		Run(context.Background())
	fmt.Println(err)
	// Unordered output:
	// table: tea 5 EUR
	// table: milk 2 EUR
	// table: soy 3 EUR
	// vegan: tea 5
	// vegan: soy 3
	// refused 1: no milk
	// <nil>
}

// forkBroken is a destination whose connection is lost.
func forkBroken() funnel.Destination {
	return funnel.DestinationFunc(func(context.Context, []opencdc.Record) error {
		return errors.New("connection lost")
	})
}

// forkPatient is a destination that waits until its context ends.
func forkPatient() funnel.Destination {
	return funnel.DestinationFunc(func(ctx context.Context, _ []opencdc.Record) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

func Example_fanOutFailure() {
	err := funnel.From("orders", forkOrders("tea 5")).
		Fork(
			funnel.To("broken", forkBroken()),
			funnel.To("patient", forkPatient()),
		).
		Run(context.Background())
	fmt.Println(err)
	if task := (*funnel.TaskError)(nil); errors.As(err, &task) {
		fmt.Println("look at:", task.TaskID)
	}
	// Output:
	// task "broken": failed to write 1 records, from "0" on: connection lost
	// look at: broken
}

func Example_fanOutBestEffort() {
	err := funnel.From("orders", forkOrders("tea 5", "milk 2")).
		Fork(
			funnel.To("table", forkPrinter("table")),
			funnel.To("broken", forkBroken()).BestEffort(),
		).
		Run(context.Background())
	fmt.Println(err)
	// Output:
	// table: tea 5 EUR
	// table: milk 2 EUR
	// <nil>
}

// forkItem returns the first word of an order.
func forkItem(r opencdc.Record) string {
	item, _, _ := bytes.Cut(r.Payload.After.Bytes(), []byte(" "))
	return string(item)
}

func Example_fanOutRoute() {
	err := funnel.From("orders", forkOrders("tea 5", "gold 900", "milk 2", "tea 1")).
		Route("by item", forkItem,
			funnel.When("tea", funnel.To("tea", forkPrinter("tea house"))),
			funnel.When("milk", funnel.Through("dollars", funnel.Map(forkToDollars)).To("dairy", forkPrinter("dairy"))),
		).
		DeadLetters("refused", forkRefused(), 100, 10).
		Run(context.Background())
	fmt.Println(err)
	// Unordered output:
	// tea house: tea 5 EUR
	// tea house: tea 1 EUR
	// dairy: milk 2 USD
	// refused 1: no route: "gold"
	// <nil>
}

func forkManyToMany(ctx context.Context) error {
	table := &funnel.TaskNode{Task: funnel.NewDestinationTask("table", forkPrinter("table"), log.Nop(), nil)}
	index := &funnel.TaskNode{Task: funnel.NewDestinationTask("index", forkPrinter("index"), log.Nop(), nil)}
	sink, err := funnel.NewSink(table, index)
	if err != nil {
		return err
	}
	if err := sink.Open(ctx); err != nil {
		return err
	}
	var workers sync.WaitGroup
	var shopErr, webErr error
	workers.Go(func() { shopErr = funnel.From("shop", forkOrders("tea 5")).Into(sink).Run(ctx) })
	workers.Go(func() { webErr = funnel.From("web", forkOrders("milk 2")).Into(sink).Run(ctx) })
	workers.Wait()
	return errors.Join(shopErr, webErr, sink.Close(context.WithoutCancel(ctx)))
}

func Example_fanOutSink() {
	fmt.Println(forkManyToMany(context.Background()))
	// Unordered output:
	// table: tea 5 EUR
	// index: tea 5 EUR
	// table: milk 2 EUR
	// index: milk 2 EUR
	// <nil>
}
