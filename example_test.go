package funnel_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/conduitio/conduit-commons/csync"
	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/rs/zerolog"
	"go.uber.org/mock/gomock"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/funneltest/funnelmock"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/metrics/noop"
)

func Example_simpleStream() {
	ctx, killAll := context.WithCancel(context.Background())
	defer killAll()

	logger := newLogger()
	ctrl := gomockCtrl(logger)

	batchCount := 10
	batchSize := 1

	dlq := funnel.NewDLQ(
		"dlq",
		noopDLQDestination(ctrl),
		logger,
		&funnel.NoOpConnectorMetrics{},
		1,
		0,
	)
	srcTask := funnel.NewSourceTask(
		"generator",
		generatorSource(ctrl, logger, "generator", batchSize, batchCount),
		logger,
		&funnel.NoOpConnectorMetrics{},
	)
	destTask := funnel.NewDestinationTask(
		"printer",
		printerDestination(ctrl, logger, "printer", batchSize),
		logger,
		&funnel.NoOpConnectorMetrics{},
	)

	destTaskNode := &funnel.TaskNode{Task: destTask}
	srcTaskNode := &funnel.TaskNode{Task: srcTask, Next: []*funnel.TaskNode{destTaskNode}}

	w, err := funnel.NewWorker(
		srcTaskNode,
		dlq,
		logger,
		noop.Timer{},
	)
	if err != nil {
		panic(err)
	}

	err = w.Open(ctx)
	if err != nil {
		panic(err)
	}

	var wg csync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		err := w.Do(ctx)
		if err != nil {
			panic(err)
		}
	}()

	// stop node after 150ms, which should be enough to process the 10 messages
	time.AfterFunc(150*time.Millisecond, func() { _ = w.Stop(ctx) })

	if err := wg.WaitTimeout(ctx, time.Second); err != nil {
		killAll()
	} else {
		logger.Info(ctx).Msg("finished successfully")
	}

	err = w.Close(ctx)
	if err != nil {
		panic(err)
	}

	// Output:
	// DBG opening source component=task:source connector_id=generator
	// DBG source open component=task:source connector_id=generator
	// DBG opening destination component=task:destination connector_id=printer
	// DBG destination open component=task:destination connector_id=printer
	// DBG opening destination component=task:destination connector_id=dlq
	// DBG destination open component=task:destination connector_id=dlq
	// DBG got record node_id=printer position=generator/0
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/1
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/2
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/3
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/4
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/5
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/6
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/7
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/8
	// DBG received ack node_id=generator
	// DBG got record node_id=printer position=generator/9
	// DBG received ack node_id=generator
	// INF finished successfully
}

// newLogger returns a logger that writes to standard output, without times and
// colors.
func newLogger() log.CtxLogger {
	return log.New(zerolog.New(zerolog.ConsoleWriter{
		Out:          os.Stdout,
		NoColor:      true,
		PartsExclude: []string{zerolog.TimestampFieldName},
	}))
}

// gomockCtrl returns a controller that logs and panics when an expectation is
// not met, since an example has no *testing.T.
func gomockCtrl(logger log.CtxLogger) *gomock.Controller {
	return gomock.NewController(exampleReporter{logger})
}

type exampleReporter struct{ logger log.CtxLogger }

func (r exampleReporter) Errorf(format string, args ...any) {
	r.logger.Error(context.Background()).Msgf(format, args...)
}

func (r exampleReporter) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// generatorSource returns a source that generates batchCount batches of
// batchSize records, then blocks until it is torn down.
func generatorSource(
	ctrl *gomock.Controller,
	logger log.CtxLogger,
	nodeID string,
	batchSize, batchCount int,
) funnel.Source {
	stop := make(chan struct{})
	next := 0

	source := funnelmock.NewMockSource(ctrl)
	source.EXPECT().Open(gomock.Any()).Return(nil)
	source.EXPECT().Read(gomock.Any()).DoAndReturn(func(ctx context.Context) ([]opencdc.Record, error) {
		if next == batchCount*batchSize {
			select {
			case <-stop:
				return nil, context.Canceled
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		records := make([]opencdc.Record, batchSize)
		for i := range records {
			records[i].Position = opencdc.Position(nodeID + "/" + strconv.Itoa(next))
			next++
		}
		return records, nil
	}).Times(batchCount + 1)
	source.EXPECT().Ack(gomock.Any(), gomock.Any()).DoAndReturn(func(ctx context.Context, positions []opencdc.Position) error {
		for range positions {
			logger.Debug(ctx).Str(log.NodeIDField, nodeID).Msg("received ack")
		}
		return nil
	}).Times(batchCount)
	source.EXPECT().Teardown(gomock.Any()).DoAndReturn(func(context.Context) error {
		close(stop)
		return nil
	})
	return source
}

// printerDestination returns a destination that logs the positions of the
// records that it is given.
func printerDestination(
	ctrl *gomock.Controller,
	logger log.CtxLogger,
	nodeID string,
	batchSize int,
) funnel.Destination {
	acks := make([]connector.DestinationAck, 0, batchSize)

	destination := funnelmock.NewMockDestination(ctrl)
	destination.EXPECT().Open(gomock.Any()).Return(nil)
	destination.EXPECT().Write(gomock.Any(), gomock.Len(batchSize)).DoAndReturn(func(ctx context.Context, records []opencdc.Record) error {
		acks = acks[:0]
		for _, rec := range records {
			logger.Debug(ctx).Str(log.NodeIDField, nodeID).Str("position", rec.Position.String()).Msg("got record")
			acks = append(acks, connector.DestinationAck{Position: rec.Position})
		}
		return nil
	}).AnyTimes()
	destination.EXPECT().Ack(gomock.Any()).DoAndReturn(func(context.Context) ([]connector.DestinationAck, error) {
		return acks, nil
	}).AnyTimes()
	destination.EXPECT().Teardown(gomock.Any()).Return(nil)
	return destination
}

// noopDLQDestination returns a destination that must not be written to.
func noopDLQDestination(ctrl *gomock.Controller) funnel.Destination {
	destination := funnelmock.NewMockDestination(ctrl)
	destination.EXPECT().Open(gomock.Any()).Return(nil)
	destination.EXPECT().Teardown(gomock.Any()).Return(nil)
	return destination
}
