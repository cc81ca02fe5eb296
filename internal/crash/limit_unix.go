//go:build unix

package main

import (
	"errors"
	"strings"
	"syscall"
)

// limitFileSize makes writes fail that would make a file larger than n bytes.
func limitFileSize(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = n
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}

// isFileTooLarge returns true if a write has failed because of the limit.
func isFileTooLarge(err error) bool { return isErrno(err, syscall.EFBIG) }

func isDiskFull(err error) bool { return isErrno(err, syscall.ENOSPC) }

// isErrno also finds the text of an errno, since bbolt does not wrap all errors.
func isErrno(err error, errno syscall.Errno) bool {
	return errors.Is(err, errno) || strings.Contains(err.Error(), errno.Error())
}
