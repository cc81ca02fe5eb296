package parquet

import (
	"fmt"

	"github.com/conduitio/funnel/log"
)

// Option is an option of [NewSource].
type Option interface {
	apply(*config) error
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// config holds the options of a source.
type config struct {
	batchRecords int
	batchBytes   int
	maxFiles     int
	startsAnew   bool
	logger       log.CtxLogger
}

// WithBatch bounds what a Read returns: at most this many records, and no further record once
// their values and positions have this many bytes. The defaults are 1,000 records and 1 MiB.
func WithBatch(records, bytes int) Option {
	return option(func(c *config) error {
		if records < 1 || bytes < 1 {
			return fmt.Errorf("a batch has at most %d records and %d bytes, both must be at least 1", records, bytes)
		}
		c.batchRecords, c.batchBytes = records, bytes
		return nil
	})
}

// WithMaxFiles sets how many files there may be; with more, Open returns an error. Every
// position holds the state of every file: about 30 bytes for each finished file and each copy
// of one, and about 30 bytes and the path for each file that was read in part. The default is
// 10,000.
func WithMaxFiles(n int) Option {
	return option(func(c *config) error {
		if n < 1 {
			return fmt.Errorf("the maximum number of files is %d, it must be at least 1", n)
		}
		c.maxFiles = n
		return nil
	})
}

// WithStartAnew lets the source read files from their first rows where Open would otherwise
// return an error: if a file that was read in part is gone and another file has its name, or
// if it is not certain which of several files was read in part.
func WithStartAnew() Option {
	return option(func(c *config) error {
		c.startsAnew = true
		return nil
	})
}

// WithLogger sets the logger; by default, nothing is logged. The source logs at level warn
// each file that vanishes before it was read to its end.
func WithLogger(logger log.CtxLogger) Option {
	return option(func(c *config) error {
		c.logger = logger
		return nil
	})
}

// newConfig applies the options.
func newConfig(opts []Option) (*config, error) {
	c := &config{batchRecords: 1000, batchBytes: 1 << 20, maxFiles: 10_000, logger: log.Nop()}
	for i, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("option %d is nil", i)
		}
		if err := opt.apply(c); err != nil {
			return nil, err
		}
	}
	c.logger = c.logger.WithComponent("source:parquet")
	return c, nil
}
