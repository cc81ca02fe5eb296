package file

import (
	"fmt"
	"unicode/utf8"

	"github.com/conduitio/funnel/log"
)

// Option is an option of [NewSource] and of [NewDestination].
type Option interface {
	SourceOption
	DestinationOption
}

// WithComma sets the character between the fields of [CSV], such as ';' or '\t'. The default
// is ','. It cannot be a quote, a line end or a NUL.
func WithComma(comma rune) Option {
	return option(func(c *commonConfig) { c.comma, c.hasComma = comma, true })
}

// WithLogger sets the logger. By default, nothing is logged. At level warn, the source logs
// when data vanished before it was read and when notifications do not work, and the
// destination logs what it cuts off when it repairs a file.
func WithLogger(logger log.CtxLogger) Option {
	return option(func(c *commonConfig) { c.logger = logger })
}

// commonConfig holds the options that sources and destinations share.
type commonConfig struct {
	comma    rune
	hasComma bool // it was set
	logger   log.CtxLogger
}

func defaultConfig() commonConfig {
	return commonConfig{comma: ',', logger: log.Nop()}
}

type option func(*commonConfig)

func (o option) applyToSource(c *sourceConfig) error {
	o(&c.commonConfig)
	return nil
}

func (o option) applyToDestination(c *destinationConfig) { o(&c.commonConfig) }

// validate returns an error if the format is unknown, or an option does not fit it.
func (c *commonConfig) validate(format Format) error {
	switch {
	case !format.isKnown():
		return fmt.Errorf("the format %v is unknown", format)
	case c.hasComma && format != CSV:
		return fmt.Errorf("WithComma is for the format CSV, not for %v", format)
	}
	switch c.comma {
	case '"', '\r', '\n', 0, utf8.RuneError:
		return fmt.Errorf("%q cannot stand between the fields of CSV", c.comma)
	}
	if !utf8.ValidRune(c.comma) {
		return fmt.Errorf("%q cannot stand between the fields of CSV", c.comma)
	}
	return nil
}
