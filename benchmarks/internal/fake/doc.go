// Package fake has connectors and processors that cost next to nothing, so that
// what is measured is what moves the records between them. All that they return
// was prepared before, they allocate nothing and look at no record.
package fake
