package embedding_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics/prometheus"
	"github.com/conduitio/funnel/otel"
	"github.com/conduitio/funnel/position"
	"github.com/conduitio/funnel/runner"
)

// host has what the pipelines of a process share.
type host struct {
	logger    log.CtxLogger
	exporter  *prometheus.Exporter
	spans     trace.TracerProvider
	positions position.Store
	group     *runner.Group
}

func newHost(logs slog.Handler, registry *client.Registry, spans trace.TracerProvider, positions position.Store) (*host, error) {
	exporter, err := prometheus.New(registry)
	if err != nil {
		return nil, err
	}
	h := &host{logger: log.FromSlog(logs), exporter: exporter, spans: spans, positions: positions}
	h.group, err = runner.New(
		runner.WithLogger(h.logger),
		runner.WithMetrics(exporter.Set()),
		runner.WithStopTimeout(20*time.Second, 4*time.Second),
	)
	if err != nil {
		return nil, err
	}
	return h, exporter.Watch(h.group.Stats)
}

// serve shows the pages and runs the pipelines until a signal.
func (h *host) serve(registry *client.Registry, pages net.Listener) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills the process

	mux := http.NewServeMux()
	mux.Handle("/", h.group.Handler())
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer server.Close()
	go func() { _ = server.Serve(pages) }()
	return h.group.Run(ctx)
}

// flow is a pipeline of the configuration.
type flow struct {
	name    string
	from    func(opencdc.Position) (funnel.Source, error)
	check   funnel.Processor
	to      func() (funnel.Destination, error)
	refused func() (funnel.Destination, error)
}

func (h *host) add(f flow, opts ...runner.PipelineOption) error {
	spans, err := otel.NewObserver(h.spans, f.name)
	if err != nil {
		return err
	}
	source := position.Track(f.name, h.positions, f.from)
	build := func(context.Context) (*funnel.Worker, error) {
		to, err := f.to()
		if err != nil {
			return nil, err
		}
		refused, err := f.refused()
		if err != nil {
			return nil, err
		}
		pipeline := funnel.From(f.name, source).
			Through("check", f.check).
			To("table", to).
			DeadLetters("refused", refused, 1000, 50).
			Logger(h.logger.WithField(runner.PipelineNameField, f.name)).
			Options(
				funnel.WithStats(), // so that the page names a task that hangs
				funnel.WithObserver(spans),
			)
		return h.exporter.Instrument(pipeline, f.name).Worker()
	}
	if _, err := build(context.Background()); err != nil {
		return fmt.Errorf("pipeline %q: %w", f.name, err) // a wrong configuration ends the service at once
	}
	return h.group.Add(f.name, runner.Single(build), opts...)
}

var errLogin = errors.New("login refused")

// patient lets a pipeline try forever, but not with a wrong password.
func patient() []runner.PipelineOption {
	return []runner.PipelineOption{
		runner.WithRestart(runner.Restart{Attempts: -1}),
		runner.WithClassifier(func(err error) runner.Class {
			if errors.Is(err, errLogin) {
				return runner.Fatal
			}
			return runner.Unclassified // as without a classifier
		}),
	}
}
