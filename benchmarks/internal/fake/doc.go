// Package fake has connectors and processors that cost next to nothing, so that
// measurements show what it costs to move records between them. They return prepared
// values, allocate nothing and do not look at records.
package fake
