package funneltest_test

import "testing"

// The source of the example passes its test.
func TestSource_example(t *testing.T) { testWords(t) }
