// Service is a program of three pipelines that run for years:
//
//	POST /orders ── intake ── orders.jsonl ── pricing ── priced.jsonl ── totals ── GET /totals
//	                   │                         │
//	          refused/intake.jsonl      refused/pricing.jsonl
//
// A group of package runner restarts them when they fail, and its pages say how they are. All
// of them are logged by slog, measured by Prometheus and traced by OpenTelemetry. This file is
// what a service needs around its pipelines, and pipelines.go holds the pipelines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics/prometheus"
	"github.com/conduitio/funnel/otel"
	"github.com/conduitio/funnel/runner"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "listen on this `address`")
	dir := flag.String("dir", "out", "keep orders, positions and traces in this `directory`")
	customers := flag.Int("customers", 0, "simulate this `number` of customers, who order once a second")
	share := flag.Float64("traces", 0.1, "trace this `share` of the batches")
	flag.Parse()
	// The first signal stops the pipelines gracefully, the second one kills the program.
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, release)
	if err := run(ctx, *addr, *dir, *customers, *share); err != nil {
		time.AfterFunc(time.Second, func() { os.Exit(1) }) // if nobody reads the next line
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// run runs the service until ctx ends. It returns an error if a pipeline could not end well.
func run(ctx context.Context, addr, dir string, customers int, share float64) error {
	logger := log.FromSlog(slog.NewJSONHandler(os.Stderr, nil))
	err1 := os.MkdirAll(dir, 0o755)
	registry := client.NewRegistry()
	metrics, err2 := prometheus.New(registry)
	spans, err3 := os.OpenFile(filepath.Join(dir, "spans.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	exporter, err4 := stdouttrace.New(stdouttrace.WithWriter(spanFile{spans}))
	group, err5 := runner.New(runner.WithLogger(logger), runner.WithMetrics(metrics.Set()),
		runner.WithStopTimeout(10*time.Second, 2*time.Second))
	listener, err6 := net.Listen("tcp", addr)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	traces := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithSampler(trace.TraceIDRatioBased(share)))

	// A disk may be full for a night, so there is no limit to restarts. Only too many dead
	// letters, which are for a person to look at, degrade a pipeline. A dead letter that
	// cannot be written does not, although it is fatal otherwise.
	restart := runner.Restart{MaxInterval: 15 * time.Second, Attempts: -1}
	classify := runner.WithClassifier(func(err error) runner.Class {
		if errors.Is(err, funnel.ErrNackThreshold) {
			return runner.Fatal
		}
		return runner.Transient
	})
	// build makes the workers of a pipeline, which is logged, measured and traced.
	build := func(name string, describe func() (*funnel.Pipeline, error)) runner.Build {
		return runner.Single(func(context.Context) (*funnel.Worker, error) {
			p, err1 := describe()
			tracer, err2 := otel.NewObserver(traces, name)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			return metrics.Instrument(p, name).Logger(logger).
				Options(funnel.WithStats(), funnel.WithObserver(tracer)).Worker()
		})
	}
	add := func(name string, describe func() (*funnel.Pipeline, error)) error {
		return group.Add(name, build(name, describe), runner.WithRestart(restart), classify)
	}
	s := &shop{dir: dir, logger: logger, orders: funnel.NewChannelSource(nil)}
	err := errors.Join(metrics.Watch(group.Stats),
		add("intake", s.intake), add("pricing", s.pricing), add("totals", s.totals))
	if err != nil {
		return err
	}

	// Nobody is asked who they are: in front of this belongs a proxy that does.
	mux := http.NewServeMux()
	mux.Handle("/", group.Handler())
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /orders", s.postOrder)
	mux.HandleFunc("GET /totals", s.getTotals)
	operate := func(do func(r *http.Request) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := do(r); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		}
	}
	mux.HandleFunc("POST /restart/{pipeline}", operate(func(r *http.Request) error {
		return group.Restart(r.Context(), r.PathValue("pipeline"))
	}))
	mux.HandleFunc("POST /replay", operate(func(r *http.Request) error {
		return group.RunInstead(r.Context(), "pricing", build("pricing", s.replay))
	}))
	handler := http.NewCrossOriginProtection().Handler(mux)
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second}
	go server.Serve(listener)
	url := "http://" + listener.Addr().String()
	fmt.Printf("pipelines  %s/\nmetrics    %[1]s/metrics\ntotals     %[1]s/totals\n", url)
	for range customers {
		go orderOften(ctx, url+"/orders")
	}
	err = group.Run(ctx) // the pages are there until all pipelines have ended
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	traces.Shutdown(ctx)
	server.Shutdown(ctx) // when all orders are answered
	return err
}

// spanFile takes the spans, as a collector would. A full disk costs some of them: after an
// error, the exporter would never write again.
type spanFile struct{ *os.File }

func (f spanFile) Write(p []byte) (int, error) {
	f.File.Write(p)
	return len(p), nil
}
