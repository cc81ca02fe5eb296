package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/conduitio/funnel/internal/disk"
)

// DestinationOption changes how a [Destination] works.
type DestinationOption interface {
	applyToDestination(*destinationConfig)
}

type destinationOption func(*destinationConfig)

func (o destinationOption) applyToDestination(c *destinationConfig) { o(c) }

// WithColumns sets the columns of [CSV], in order. CSV needs this option, and no other format
// accepts it. The names must be distinct and not empty.
func WithColumns(names ...string) DestinationOption {
	names = slices.Clone(names)
	return destinationOption(func(c *destinationConfig) { c.columns = names })
}

// WithOtherFieldsDropped writes a record to [CSV] without the fields that are not columns. By
// default, such a record is refused.
func WithOtherFieldsDropped() DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.dropOtherFields = true })
}

// WithoutSync acks records once the operating system has them, and never syncs. It is faster,
// above all for small batches. If the process is killed, nothing is lost. If the machine
// crashes, acked records can be missing, typically those of the last half minute, and a file
// can be missing or contain damaged records.
func WithoutSync() DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.withoutSync = true })
}

// WithRotation begins a new file when the current one is full. By default, a destination
// appends to one file forever.
func WithRotation(rotation Rotation) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.rotation = &rotation })
}

// WithMaxOpenFiles sets how many files can be open at the same time if their names come from
// records. Beyond that, the file with the oldest last write is closed, and opened again when
// a record needs it. The default is 64, and the minimum is 1.
func WithMaxOpenFiles(n int) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.maxOpenFiles = n })
}

// WithFileMode sets the permissions of the files that the destination makes, before the
// umask. Directories get the same permissions, and whoever may read a directory may also
// search it. The owner must be allowed to read and write. The default is 0o644.
func WithFileMode(mode fs.FileMode) DestinationOption {
	return destinationOption(func(c *destinationConfig) { c.fileMode = mode })
}

// destinationConfig is what the options of a destination set.
type destinationConfig struct {
	commonConfig
	columns         []string
	dropOtherFields bool
	withoutSync     bool
	rotation        *Rotation
	maxOpenFiles    int
	fileMode        fs.FileMode

	// For tests.
	fsys      disk.FS
	maxAppend int
}

// newDestinationConfig applies and checks the options.
func newDestinationConfig(format Format, opts []DestinationOption) (*destinationConfig, error) {
	c := &destinationConfig{
		commonConfig: defaultConfig(),
		maxOpenFiles: 64,
		fileMode:     0o644,
		fsys:         disk.OS,
		maxAppend:    defaultMaxAppend,
	}
	for i, o := range opts {
		if o == nil {
			return nil, fmt.Errorf("option %d is nil", i)
		}
		o.applyToDestination(c)
	}
	c.logger = c.logger.WithComponent("destination:file")
	if err := c.validate(format); err != nil {
		return nil, err
	}
	switch {
	case c.maxOpenFiles < 1:
		return nil, fmt.Errorf("WithMaxOpenFiles needs at least 1, not %d", c.maxOpenFiles)
	case c.fileMode&^fs.ModePerm != 0:
		return nil, fmt.Errorf("WithFileMode takes permissions only, not %v", c.fileMode)
	case c.fileMode&0o600 != 0o600:
		return nil, fmt.Errorf("WithFileMode must let the owner read and write, which %v does not", c.fileMode)
	}
	if c.rotation != nil {
		if err := c.rotation.validate(); err != nil {
			return nil, err
		}
	}
	return c, c.validateCSV(format)
}

func (c *destinationConfig) validateCSV(format Format) error {
	if format != CSV {
		if c.columns != nil || c.dropOtherFields {
			return fmt.Errorf("columns are for the format CSV, not for %v", format)
		}
		return nil
	}
	if len(c.columns) == 0 {
		return errors.New("the format CSV needs WithColumns")
	}
	for i, name := range c.columns {
		switch {
		case name == "":
			return fmt.Errorf("the name of column %d is empty", i)
		case slices.Contains(c.columns[:i], name):
			return fmt.Errorf("there are two columns %q", shorten(name))
		case checkField([]byte(name)) != nil:
			return fmt.Errorf("the name of column %d: %w", i, checkField([]byte(name)))
		case i == 0 && len(name) >= len(bom) && name[:len(bom)] == bom:
			return errors.New("the name of the first column begins with a byte order mark")
		}
	}
	return nil
}

// dirMode returns the permissions of directories.
func (c *destinationConfig) dirMode() fs.FileMode {
	return c.fileMode | c.fileMode&0o444>>2 | 0o300
}

// openFlags are those of every file that is written. They have no O_APPEND: each write says
// its offset, so it never lands after bytes that another program has appended.
const openFlags = os.O_RDWR | os.O_CREATE
