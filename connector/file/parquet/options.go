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

// WithBatch sets how many records a Read returns at most, and after how many bytes it
// returns: those of the values and of the positions. The defaults are 1,000 records and 1
// MiB.
func WithBatch(records, bytes int) Option {
	return option(func(c *config) error {
		if records < 1 || bytes < 1 {
			return fmt.Errorf("a batch has at most %d records and %d bytes, both must be at least 1", records, bytes)
		}
		c.batchRecords, c.batchBytes = records, bytes
		return nil
	})
}

// WithMaxFiles sets how many files there may be. With more, the source fails, since every
// position holds the state of every file: some 30 bytes of a finished one or a copy of it,
// and some 30 and the path of one that was read in part. The default is 10,000.
func WithMaxFiles(n int) Option {
	return option(func(c *config) error {
		if n < 1 {
			return fmt.Errorf("the maximum number of files is %d, it must be at least 1", n)
		}
		c.maxFiles = n
		return nil
	})
}

// WithStartAnew lets the source read a file from its first row if it stands in place of one
// that was read in part and is nowhere else, or if it is not certain which file that was.
// Without it, both are errors of Open.
func WithStartAnew() Option {
	return option(func(c *config) error {
		c.startsAnew = true
		return nil
	})
}

// WithLogger sets the logger. By default nothing is logged. The source logs at level warn
// which files vanished before they were read to their end.
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
