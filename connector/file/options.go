package file

import (
	"fmt"
	"unicode/utf8"

	"github.com/conduitio/funnel/log"
)

// Option is an option of sources and destinations alike.
type Option interface {
	DestinationOption
}

type commaOption rune

func (o commaOption) applyToDestination(c *destinationConfig) {
	c.comma, c.hasComma = rune(o), true
}

// WithComma sets the character between the fields of CSV, such as ';' or '\t'. The default
// is ','. It cannot be a quote, a line end or NUL.
func WithComma(comma rune) Option { return commaOption(comma) }

type loggerOption struct{ log.CtxLogger }

func (o loggerOption) applyToDestination(c *destinationConfig) { c.logger = o.CtxLogger }

// WithLogger sets the logger. The default writes nothing.
func WithLogger(logger log.CtxLogger) Option { return loggerOption{logger} }

// checkComma returns an error if the character cannot stand between fields.
func checkComma(comma rune) error {
	switch {
	case comma == '"', comma == '\r', comma == '\n', comma == 0, comma == utf8.RuneError, !utf8.ValidRune(comma):
		return fmt.Errorf("%q cannot stand between the fields of CSV", comma)
	default:
		return nil
	}
}
