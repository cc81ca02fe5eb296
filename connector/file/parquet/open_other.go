//go:build !unix

package parquet

const nonBlocking = 0
