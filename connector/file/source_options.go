package file

import (
	"cmp"
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
	maxRecordBytes int // 0 for the default
	batchRecords   int
	batchBytes     int
	maxFiles       int
	isLocked       bool // no destination may have the files open
	startsAnew     bool
	newWatcher     func() (watcher, error) // nil for none
}

func defaultSourceConfig() sourceConfig {
	return sourceConfig{
		commonConfig: defaultConfig(),
		pollPeriod:   time.Second,
		settlePeriod: 10 * time.Second,
		batchRecords: 1000,
		batchBytes:   1 << 20,
		maxFiles:     10_000,
		newWatcher:   newFileWatcher,
	}
}

// WithFollow lets the source wait for data that is appended to the files, and for new files,
// instead of ending.
func WithFollow() SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.isFollowed = true
		return nil
	})
}

// WithPollPeriod sets how often the source looks for changes without a notification. The
// default is 1 s.
func WithPollPeriod(period time.Duration) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if period <= 0 {
			return fmt.Errorf("the poll period is %v, it must be positive", period)
		}
		c.pollPeriod = period
		return nil
	})
}

// WithSettlePeriod sets how long a followed file must stay unchanged before the source
// decides about it. A file without a name, to which a slow writer may still append, is then
// finished. A compressed file without an end, or a file that cannot be read, is an error. A
// file shorter than 1,024 bytes that holds just the beginning of another one is read. The
// default is 10 s.
func WithSettlePeriod(period time.Duration) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if period <= 0 {
			return fmt.Errorf("the settle period is %v, it must be positive", period)
		}
		c.settlePeriod = period
		return nil
	})
}

// WithMaxRecordBytes sets the maximum number of bytes in a record, without its line end. A
// longer record is passed on in pieces of that size, as raw data. The default is 1 MiB, or 8
// MiB for [NewDeadLetterSource], since a letter is longer than its record.
func WithMaxRecordBytes(n int) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if n < 1 || n > 1<<30 {
			return fmt.Errorf("the maximum number of bytes in a record is %d, it must be from 1 to %d", n, 1<<30)
		}
		c.maxRecordBytes = n
		return nil
	})
}

// WithBatch sets how many records a Read returns at most, and after how many bytes of texts
// and positions it returns. The defaults are 1,000 records and 1 MiB.
func WithBatch(records, bytes int) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if records < 1 || bytes < 1 {
			return fmt.Errorf("a batch has at most %d records and %d bytes, both must be at least 1", records, bytes)
		}
		c.batchRecords, c.batchBytes = records, bytes
		return nil
	})
}

// WithMaxFiles sets how many files there may be. With more files, the source fails, since
// every position holds the state of every file: some 25 bytes for a finished file, and some
// 30 bytes and the path for any other. The default is 10,000.
func WithMaxFiles(n int) SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		if n < 1 {
			return fmt.Errorf("the maximum number of files is %d, it must be at least 1", n)
		}
		c.maxFiles = n
		return nil
	})
}

// WithStartAnew lets the source read a file from its beginning if the part that was read
// before is no longer there. Without this option, Open then returns an error.
func WithStartAnew() SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.startsAnew = true
		return nil
	})
}

// WithoutWriters keeps destinations away from the files. While the source is open, no
// [Destination] can open one of them, in this process or another. The source cannot be opened
// while a Destination has one of them open. Other programs can still write. Each file stays
// open meanwhile. The option cannot be combined with [WithFollow].
func WithoutWriters() SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.isLocked = true
		return nil
	})
}

// maxLetterBytes is the default of WithMaxRecordBytes for dead letters. In the letter of a
// record of 1 MiB there may be that in base64, and notes on its types with their quotes
// escaped.
const maxLetterBytes = 8 << 20

// ofLetters is the last option of a source of dead letters.
func ofLetters() SourceOption {
	return sourceOption(func(c *sourceConfig) error {
		c.isLocked = true
		c.maxRecordBytes = cmp.Or(c.maxRecordBytes, maxLetterBytes)
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
	if c.isLocked && c.isFollowed {
		return nil, errors.New("WithoutWriters and WithFollow exclude each other: nobody could append to what is followed")
	}
	c.maxRecordBytes = cmp.Or(c.maxRecordBytes, 1<<20)
	c.logger = c.logger.WithComponent("source:file")
	return &c, c.validate(format)
}
