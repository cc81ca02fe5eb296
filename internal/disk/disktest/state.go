package disktest

import (
	"maps"
	"os"
	"slices"
	"strings"
)

// sector is the number of bytes that a disk writes in one piece.
const sector = 512

// state holds what is on the disk for certain, and the changes that may be there, too. The
// changes stay in order: a certain change may follow an uncertain one. Certain changes at the
// front are merged into what is on the disk.
type state struct {
	names   map[string]node
	changes []nameChange
	files   map[int]*fileContent
}

// node is the file or directory that a name stands for.
type node struct {
	isDir bool
	file  int // the number of the file
}

// nameChange is a create, rename, remove or mkdir.
type nameChange struct {
	call      int // its index among the calls
	removed   string
	added     string
	node      node     // of the added name
	toSync    []string // the directories that are still to be synced
	isCertain bool
}

// fileContent is the content of a file.
type fileContent struct {
	base    []byte // longer than size if the disk has bytes beyond the end of the file
	size    int64
	changes []byteChange
}

// byteChange is a sector of a write, the length that it gives the file, or a truncation.
type byteChange struct {
	call        int
	offset      int64
	data        []byte // of a sector, otherwise nil
	size        int64  // the new size or, for a write, the minimum
	isTruncate  bool
	isCertain   bool
	isUncertain bool // a Sync that covered it has failed
}

func newState() *state {
	return &state{names: make(map[string]node), files: make(map[int]*fileContent)}
}

func (s *state) clone() *state {
	c := newState()
	maps.Copy(c.names, s.names)
	for n, f := range s.files {
		c.files[n] = &fileContent{base: slices.Clone(f.base), size: f.size}
	}
	return c
}

// apply adds the call with this index. It returns false if the call changes nothing.
func (s *state) apply(index int, c *Call) bool {
	if c.Kind == Sync && !c.hasDone {
		s.file(c.file).doubt()
		return false
	}
	if !c.hasDone {
		return c.Kind == Note
	}
	switch c.Kind {
	case Open:
		if c.Created {
			s.change(nameChange{call: index, added: c.Name, node: node{file: c.file}, toSync: []string{c.parent}})
		} else if hasTruncate(c.Flag) {
			s.file(c.file).truncate(index, 0)
		} else {
			return false
		}
	case Mkdir:
		s.change(nameChange{call: index, added: c.Name, node: node{isDir: true}, toSync: []string{c.parent}})
	case Remove:
		s.change(nameChange{call: index, removed: c.Name, toSync: []string{c.parent}})
	case Rename:
		s.change(nameChange{
			call: index, removed: c.Name, added: c.To, node: node{file: c.file},
			toSync: slices.Compact([]string{c.parent, c.toDir}),
		})
	case SyncDir:
		s.syncDir(c.Name)
	case Write:
		s.file(c.file).write(index, c.Offset, c.data, c.Growth)
	case Truncate:
		s.file(c.file).truncate(index, c.Length)
	case Sync:
		s.file(c.file).sync()
	default:
		return false
	}
	return true
}

func (s *state) file(n int) *fileContent {
	f := s.files[n]
	if f == nil {
		f = &fileContent{}
		s.files[n] = f
	}
	return f
}

func (s *state) change(c nameChange) { s.changes = append(s.changes, c) }

func (s *state) syncDir(dir string) {
	for i := range s.changes {
		c := &s.changes[i]
		c.toSync = slices.DeleteFunc(c.toSync, func(d string) bool { return d == dir })
		c.isCertain = len(c.toSync) == 0
	}
	for len(s.changes) > 0 && s.changes[0].isCertain {
		s.changes[0].apply(s.names)
		s.changes = s.changes[1:]
	}
}

// apply makes the change.
func (c *nameChange) apply(names map[string]node) {
	if c.removed != "" {
		delete(names, c.removed)
	}
	if c.added != "" {
		names[c.added] = c.node
	}
}

// write adds the sectors of a write. Where it makes the file longer, the length of each
// sector is a change of its own.
func (f *fileContent) write(call int, offset int64, data []byte, growth int64) {
	oldSize := offset + int64(len(data)) - growth
	for len(data) > 0 {
		n := min(int64(len(data)), sector-offset%sector)
		end := offset + n
		c := byteChange{call: call, offset: offset, data: data[:n:n]}
		if growth == 0 || end <= oldSize {
			c.size = end
		} else {
			f.changes = append(f.changes, byteChange{call: call, size: end})
		}
		f.changes = append(f.changes, c)
		offset, data = end, data[n:]
	}
}

func (f *fileContent) truncate(call int, size int64) {
	f.changes = append(f.changes, byteChange{call: call, size: size, isTruncate: true})
}

// doubt makes the changes that are not certain uncertain for good.
func (f *fileContent) doubt() {
	for i := range f.changes {
		f.changes[i].isUncertain = true
	}
}

func (f *fileContent) sync() {
	for i := range f.changes {
		c := &f.changes[i]
		c.isCertain = c.isCertain || !c.isUncertain
	}
	for len(f.changes) > 0 && f.changes[0].isCertain {
		f.base, f.size = f.changes[0].apply(f.base, f.size)
		f.changes = f.changes[1:]
	}
}

// apply makes the change, and returns the content and the size.
func (c *byteChange) apply(content []byte, size int64) ([]byte, int64) {
	if c.isTruncate {
		if int64(len(content)) > c.size {
			content = content[:c.size]
		}
		return content, c.size
	}
	end := int(c.offset) + len(c.data)
	if missing := end - len(content); len(c.data) > 0 && missing > 0 {
		content = append(content, make([]byte, missing)...)
	}
	copy(content[min(int(c.offset), len(content)):], c.data)
	return content, max(size, c.size)
}

// content returns what is in the file, given which of the uncertain changes have happened.
func (f *fileContent) content(has func(call int) bool) []byte {
	content, size := slices.Clone(f.base), f.size
	for i := range f.changes {
		c := &f.changes[i]
		if c.isCertain || has(c.call) {
			content, size = c.apply(content, size)
		}
	}
	if missing := int(size) - len(content); missing > 0 {
		content = append(content, make([]byte, missing)...)
	}
	return content[:size]
}

// uncertain returns, for each change that may or may not be there, the index of its call, in
// the order in which build asks for them.
func (s *state) uncertain() []int {
	var calls []int
	s.build(func(call int) bool {
		calls = append(calls, call)
		return false
	})
	return calls
}

// tree is the content of a directory: the contents of files by name, and nil for each
// directory in it.
type tree map[string][]byte

// build returns the tree, given which of the uncertain changes have happened. has is called
// once for each of them, in the same order for the same state.
func (s *state) build(has func(call int) bool) tree {
	names := maps.Clone(s.names)
	for i := range s.changes {
		c := &s.changes[i]
		if c.isCertain || has(c.call) {
			c.apply(names)
		}
	}
	contents := make(map[int][]byte)
	for _, n := range s.named() {
		contents[n] = s.file(n).content(has)
	}
	t := make(tree)
	for name, node := range names {
		switch {
		case !isReachable(names, name):
		case node.isDir:
			t[name] = nil
		default:
			t[name] = append([]byte{}, contents[node.file]...)
		}
	}
	return t
}

// named returns the files that may have a name, in order.
func (s *state) named() []int {
	all := make(map[int]bool)
	for _, n := range s.names {
		all[n.file] = true
	}
	for i := range s.changes {
		all[s.changes[i].node.file] = true
	}
	delete(all, 0) // of directories, and of removes
	return slices.Sorted(maps.Keys(all))
}

// isReachable returns true if the directories above the name are there.
func isReachable(names map[string]node, name string) bool {
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return true
		}
		name = name[:i]
		if n, ok := names[name]; !ok || !n.isDir {
			return false
		}
	}
}

// hasTruncate returns true if the flags of an Open truncate the file.
func hasTruncate(flag int) bool { return flag&os.O_TRUNC != 0 }
