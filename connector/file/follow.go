package file

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/conduitio/funnel/internal/place"
)

// followState is what a session needs to follow files.
type followState struct {
	watcher    watcher // nil if there are no notifications
	lookAt     time.Time
	generation int // changes when another file may be recognised

	copies  map[string]*copied  // files that need not be read, by name
	pending map[string]*pending // files that wait for a decision, by name
	former  map[string]*sourceFile

	contents *contents      // of one look, once something was compared with them
	nameless []namelessCopy // of one look
}

// setFormer records that a file has had a name that another file may get.
func (w *followState) setFormer(name string, f *sourceFile) {
	if w.former != nil && name != "" && f != nil {
		w.former[name] = f
	}
}

// formerOf returns the file that had the name before, if it is to be read first.
func (w *followState) formerOf(f *sourceFile) *sourceFile {
	former := w.former[f.name]
	delete(w.former, f.name)
	if former == f {
		return nil
	}
	return former
}

// forgetFormer forgets the files that were read to their ends.
func (w *followState) forgetFormer() {
	for name, f := range w.former {
		if f.in == nil && !f.isCompressed {
			delete(w.former, name)
		}
	}
}

// startFollowing begins to receive notifications.
func (s *session) startFollowing(ctx context.Context) {
	s.follow.copies = make(map[string]*copied)
	s.follow.pending = make(map[string]*pending)
	s.follow.former = make(map[string]*sourceFile)
	if s.config.newWatcher == nil {
		return
	}
	w, err := s.config.newWatcher()
	if err != nil {
		s.noNotifications(ctx, err)
		return
	}
	s.follow.watcher = w
}

func (s *session) noNotifications(ctx context.Context, err error) {
	s.config.logger.Warn(ctx).Err(err).Dur("period", s.config.pollPeriod).
		Msg("there are no notifications of changes to files, the source only looks once in a period")
}

// wait waits until there may be something to read.
func (s *session) wait(ctx context.Context) {
	timer := time.NewTimer(time.Until(s.follow.lookAt))
	defer timer.Stop()
	var wake <-chan struct{}
	if s.follow.watcher != nil {
		wake = s.follow.watcher.wake()
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

// lookIfDue looks for changes if the period is over or notifications have come.
func (s *session) lookIfDue(ctx context.Context) error {
	var names map[string]bool
	if w := s.follow.watcher; w != nil {
		var isAll bool
		var err error
		names, isAll, err = w.take()
		if err != nil {
			s.noNotifications(ctx, err)
			_ = w.close()
			s.follow.watcher = nil
		}
		if isAll {
			s.follow.lookAt = time.Time{}
		}
	}
	now := time.Now()
	if !now.Before(s.follow.lookAt) {
		return s.look(ctx)
	}
	for name := range names {
		if !s.place.Holds(name) {
			delete(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	for _, f := range slices.Clone(s.files) {
		if names[f.name] && !f.isLost {
			delete(names, f.name)
			if err := s.lookAt(ctx, f, now); err != nil {
				return err
			}
		}
	}
	if len(names) > 0 || !now.Before(s.follow.lookAt) {
		return s.look(ctx) // another file has changed
	}
	return nil
}

// look looks for changes: first to the files that are read, then to what is there.
// A file that was copied and then truncated is so found with its copy. If a file is truncated
// during the look, another one is due at once, and decides what this one has not.
func (s *session) look(ctx context.Context) error {
	err := s.lookOnce(ctx)
	if err == errLookAgain {
		return nil
	}
	return err
}

func (s *session) lookOnce(ctx context.Context) (err error) {
	now := time.Now()
	s.follow.lookAt = now.Add(s.config.pollPeriod)
	for _, f := range slices.Clone(s.files) {
		if err := s.lookAt(ctx, f, now); err != nil {
			return err
		}
	}
	begun, err := s.takeBegun()
	defer func() { s.putBack(begun, err != nil) }()
	if err != nil {
		return err
	}
	files, directories, err := s.list(ctx)
	if err != nil {
		return err
	}
	if w := s.follow.watcher; w != nil {
		hasNew := false
		for _, dir := range directories {
			isNew, err := w.add(dir)
			if err != nil && !place.IsGone(err) {
				s.noNotifications(ctx, err)
				_ = w.close()
				s.follow.watcher = nil
				break
			}
			hasNew = hasNew || isNew
		}
		if hasNew { // something may have changed since the list was made
			if files, _, err = s.list(ctx); err != nil {
				return err
			}
		}
	}
	unnamed := nameless(begun, files)
	s.follow.nameless = nil
	err = s.identify(ctx, s.matchNames(ctx, files, now), unnamed, now)
	s.follow.contents = nil
	if err != nil {
		return err
	}
	if err := s.followNameless(ctx); err != nil {
		return err
	}
	s.follow.forgetFormer()
	s.expire(ctx, now)
	s.forget()
	return nil
}

// lookAt finds out whether an open file has grown or was truncated.
func (s *session) lookAt(ctx context.Context, f *sourceFile, now time.Time) error {
	if f.in == nil {
		return nil
	}
	info, err := f.in.file.Stat()
	if err != nil {
		return f.fault(f.offset, err)
	}
	if !f.in.isPlain() {
		return nil
	}
	isChanged := info.Size() < f.readEnd
	if !isChanged && (info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime())) {
		isIntact, err := f.isIntact(&s.window)
		if err != nil {
			return f.fault(f.offset, err)
		}
		isChanged = !isIntact
	}
	if isChanged {
		return s.leaveChanged(ctx, f)
	}
	if info.Size() > f.info.Size() {
		f.grownAt = now
	}
	if info.Size() > f.readEnd {
		f.isIdle = false
	}
	f.info = info
	return nil
}

// leaveChanged gives up a file whose bytes were replaced. A copy of it may be found.
func (s *session) leaveChanged(ctx context.Context, f *sourceFile) error {
	lost := max(f.info.Size(), f.readEnd) - f.offset
	k := f.known(false, time.Now())
	k.isMoved, k.hints.name = true, 0 // another file may have the name
	o := &orphan{knownFile: k, path: f.name, lost: max(lost, 0), deadline: time.Now().Add(s.config.settlePeriod)}
	s.bytes += f.offset - f.counted
	s.remove(f)
	s.follow.generation++
	s.follow.lookAt = time.Time{}
	if len(f.beginning) == 0 {
		s.giveUp(ctx, o)
		return nil
	}
	s.orphans = append(s.orphans, o)
	return nil
}

// expire gives up the files whose copies were not found in time.
func (s *session) expire(ctx context.Context, now time.Time) {
	s.orphans = slices.DeleteFunc(s.orphans, func(o *orphan) bool {
		if now.Before(o.deadline) {
			return false
		}
		s.giveUp(ctx, o)
		return true
	})
}

func (s *session) giveUp(ctx context.Context, o *orphan) {
	if o.lost > 0 {
		s.vanished(ctx, o.path, o.offset, o.lost)
	}
	o.isFinished, o.hints.stat = true, 0
	s.finish(o.knownFile)
}

// matchNames finds the names of the files that are read, and returns the other files of
// which nothing is known.
func (s *session) matchNames(ctx context.Context, files []place.File, now time.Time) (unknown []place.File) {
	type key struct{ device, inode uint64 }
	byInode := make(map[key]*sourceFile, len(s.files))
	byName := make(map[string]*sourceFile, len(s.files))
	for _, f := range s.files {
		device, number := place.Inode(f.info)
		byInode[key{device, number}] = f
		byName[f.name] = f
	}
	for _, k := range s.finished {
		k.isPresent = false
	}
	isThere := make(map[*sourceFile]bool, len(s.files))
	infos := make(map[string]os.FileInfo, len(files))
	for _, l := range files {
		infos[l.Name] = l.Info
		f := byName[l.Name]
		if device, number := place.Inode(l.Info); number != 0 {
			f = byInode[key{device, number}]
		}
		if f != nil && os.SameFile(f.info, l.Info) {
			isThere[f] = true
			s.rename(f, l.Name)
			continue
		}
		if c := s.follow.copies[l.Name]; c != nil && isSameState(c.info, l.Info) {
			c.known.isPresent = true
			continue
		}
		unknown = append(unknown, l)
	}
	for name := range s.follow.copies {
		if infos[name] == nil {
			delete(s.follow.copies, name)
		}
	}
	for name := range s.follow.pending {
		if infos[name] == nil {
			delete(s.follow.pending, name)
		}
	}
	s.checkPending(ctx, infos, now)
	for _, f := range s.files {
		if isThere[f] {
			if f.isLost {
				f.isLost, s.headOf = false, nil
			}
			continue
		}
		if !f.isLost {
			f.isLost, f.grownAt = true, now
			s.follow.setFormer(f.name, f)
			s.headOf = nil
		}
		if f.isIdle && now.Sub(f.grownAt) >= s.config.settlePeriod {
			f.isFinal, f.isIdle = true, false
		}
	}
	return unknown
}

// rename gives a file the name under which it was found.
func (s *session) rename(f *sourceFile, name string) {
	if f.name == name {
		return
	}
	s.follow.setFormer(f.name, f)
	f.name = name
	s.headOf = nil
}
