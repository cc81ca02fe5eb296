package file

import (
	"errors"
	"fmt"
	"time"
)

// SourceOption is an option of [NewSource].
type SourceOption interface {
	applyToSource(*sourceConfig) error
}

type sourceOption func(*sourceConfig) error

func (o sourceOption) applyToSource(c *sourceConfig) error { return o(c) }

// sourceConfig holds the options of a source.
type sourceConfig struct {
	commonConfig
	isFollowed     bool
	pollPeriod     time.Duration
	settlePeriod   time.Duration
	maxRecordBytes int
	batchRecords   int
	batchBytes     int
	maxFiles       int
	startsAnew     bool
	newWatcher     func() (watcher, error) // nil for none
}

func defaultSourceConfig() sourceConfig {
	return sourceConfig{
		commonConfig:   defaultConfig(),
		pollPeriod:     time.Second,
		settlePeriod:   10 * time.Second,
		maxRecordBytes: 1 << 20,
		batchRecords:   1000,
		batchBytes:     1 << 20,
		maxFiles:       10_000,
		newWatcher:     newFileWatcher,
	}
}

// WithFollow lets the source wait for what is appended to the files, and for new files,
// instead of ending.
func WithFollow() SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.isFollowed = true
		return nil
	})
}

// WithPollPeriod sets how often the source looks for changes that no notification tells it.
// The default is 1 s.
func WithPollPeriod(period time.Duration) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if period <= 0 {
			return fmt.Errorf("the poll period is %v, it must be positive", period)
		}
		c.pollPeriod = period
		return nil
	})
}

// WithSettlePeriod sets how long a file must stay unchanged until the source makes up its
// mind about it, while it follows files: a file without a name, to which a slow writer may
// still append, is finished; a compressed file without an end, or a file without the
// permission to read it, is an error; the beginning of a copy counts as a file of its own.
// The default is 10 s.
func WithSettlePeriod(period time.Duration) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if period <= 0 {
			return fmt.Errorf("the settle period is %v, it must be positive", period)
		}
		c.settlePeriod = period
		return nil
	})
}

// WithMaxRecordBytes sets the maximum number of bytes in a record, without its line end.
// What is longer is passed on in pieces of that size, as raw data. The default is 1 MiB.
func WithMaxRecordBytes(n int) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if n < 1 || n > 1<<30 {
			return fmt.Errorf("the maximum number of bytes in a record is %d, it must be from 1 to %d", n, 1<<30)
		}
		c.maxRecordBytes = n
		return nil
	})
}

// WithBatch sets how many records a Read returns at most, and after how many bytes it
// returns: those of the texts and of the positions. The defaults are 1,000 records and 1
// MiB.
func WithBatch(records, bytes int) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if records < 1 || bytes < 1 {
			return fmt.Errorf("a batch has at most %d records and %d bytes, both must be at least 1", records, bytes)
		}
		c.batchRecords, c.batchBytes = records, bytes
		return nil
	})
}

// WithMaxFiles sets how many files there may be. With more, the source fails, since every
// position holds the state of every file: some 25 bytes of a finished one, and some 30
// and the path of any other. The default is 10,000.
func WithMaxFiles(n int) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if n < 1 {
			return fmt.Errorf("the maximum number of files is %d, it must be at least 1", n)
		}
		c.maxFiles = n
		return nil
	})
}

// WithStartAnew lets the source read a file from its beginning if what it has read of the
// file before is no longer there. Without it, that is an error of Open.
func WithStartAnew() SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.startsAnew = true
		return nil
	})
}

// withWatcher replaces the notifications, or turns them off if the function is nil.
func withWatcher(open func() (watcher, error)) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.newWatcher = open
		return nil
	})
}

// newSourceConfig applies the options.
func newSourceConfig(format Format, opts []SourceOption) (*sourceConfig, error) {
	c := defaultSourceConfig()
	for i, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("option %d is nil", i)
		}
		if err := opt.applyToSource(&c); err != nil {
			return nil, err
		}
	}
	c.logger = c.logger.WithComponent("source:file")
	return &c, c.validate(format)
}

var errNoPath = errors.New("the path is empty")
