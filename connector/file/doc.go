// Package file reads records from files, and appends records to files.
package file
