package otel

import (
	"fmt"
	"reflect"
	"slices"

	"go.opentelemetry.io/otel/attribute"
)

// Option is an option of [NewObserver].
type Option interface{ apply(*config) error }

type config struct {
	attributes []attribute.KeyValue // of the span of each batch
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithAttributes adds attributes to the span of each batch, where samplers see them. They
// replace attributes of the package with the same key. The option can be given several times.
// [NewObserver] returns an error if an attribute has no key or no value.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	attributes = slices.Clone(attributes)
	return option(func(c *config) error {
		for _, a := range attributes {
			if !a.Valid() {
				return fmt.Errorf("the attribute %q has no key or no value", string(a.Key))
			}
		}
		c.attributes = append(c.attributes, attributes...)
		return nil
	})
}

// isNil returns true if v is nil or holds a nil pointer, map, slice, function or channel.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return r.IsNil()
	default:
		return false
	}
}
