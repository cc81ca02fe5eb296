//go:build !linux

package main

import "errors"

// smallDisk is a disk that does not exist here.
type smallDisk struct{ dir string }

func newSmallDisk(string) (*smallDisk, error) { return nil, errors.ErrUnsupported }

func diskArgs() (dir string, ok bool) { return "", false }

func holdDisk(string) int { return codeFailed }

func (*smallDisk) leave(int64) error { return nil }
func (*smallDisk) empty() error      { return nil }
func (*smallDisk) close() error      { return nil }
