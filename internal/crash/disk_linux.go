package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// A small disk is a tmpfs. Only a process in a namespace of its own may mount one without
// being root, so another child of this program does it, and does nothing else. Everyone
// reaches the disk through the root of that process, whose path is in /proc. The disk
// outlives the children that are killed, and ends with the process that has mounted it.

const (
	diskVariable = "FUNNEL_CRASH_DISK" // where to mount; the process is for a disk if it is set
	diskSize     = 8 << 20             // bytes
)

type smallDisk struct {
	dir    string // the path of its root
	holder *exec.Cmd
	end    io.Closer
}

// newSmallDisk mounts a small disk at an empty directory, as its holder sees it.
func newSmallDisk(dir string) (*smallDisk, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), diskVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &smallDisk{dir: fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir), holder: cmd, end: stdin}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("%w: %s", d.close(), bytes.TrimSpace(stderr.Bytes()))
	}
	if _, err := os.Stat(d.dir); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func diskArgs() (dir string, ok bool) { return os.LookupEnv(diskVariable) }

// holdDisk mounts a disk, holds it until its input ends, and returns the exit code.
func holdDisk(dir string) int {
	err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("mode=700,size=%d", diskSize))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mounting a tmpfs:", err)
		return codeFailed
	}
	signal.Ignore(os.Interrupt) // which is for those who use the disk
	fmt.Println(childReady)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return codeDone
}

// leave fills the disk, except for a number of bytes.
func (d *smallDisk) leave(room int64) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &stat); err != nil {
		return err
	}
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	if n := int64(stat.Bavail)*stat.Bsize - room; n > 0 {
		return syscall.Fallocate(int(f.Fd()), 0, 0, n)
	}
	return nil
}

// empty makes room again.
func (d *smallDisk) empty() error { return os.RemoveAll(d.ballast()) }

func (d *smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// close removes the disk with everything on it.
func (d *smallDisk) close() error {
	_ = d.end.Close()
	return d.holder.Wait()
}
