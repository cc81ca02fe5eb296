package file

import (
	"errors"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watcher receives notifications of changes in directories.
type watcher interface {
	// add watches a directory, unless that is done already.
	add(dir string) (isNew bool, err error)
	// wake receives a value when take has something to return.
	wake() <-chan struct{}
	// take returns the files that were written to since the last call, and whether anything
	// else has changed. An error means that there are no more notifications.
	take() (names map[string]bool, isAll bool, err error)
	// close stops the notifications and waits for its goroutine.
	close() error
}

// maxChangedNames is the number of names from which on a look at all files is cheaper.
const maxChangedNames = 256

// fileWatcher gets notifications from the operating system.
type fileWatcher struct {
	notify *fsnotify.Watcher
	awake  chan struct{}
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	watched map[string]bool
	names   map[string]bool
	isAll   bool
	err     error
}

func newFileWatcher() (watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &fileWatcher{
		notify:  notify,
		awake:   make(chan struct{}, 1),
		done:    make(chan struct{}),
		watched: make(map[string]bool),
		names:   make(map[string]bool),
	}
	go w.run()
	return w, nil
}

func (w *fileWatcher) add(dir string) (isNew bool, err error) {
	if w.setWatched(dir, true) {
		return false, nil
	}
	// Without the lock: Add may wait for an event to be received.
	if err := w.notify.Add(dir); err != nil {
		w.setWatched(dir, false)
		return false, err
	}
	return true, nil
}

// setWatched records whether a directory is watched, and returns whether it was before.
func (w *fileWatcher) setWatched(dir string, isWatched bool) (wasWatched bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wasWatched = w.watched[dir]
	if isWatched {
		w.watched[dir] = true
	} else {
		delete(w.watched, dir)
	}
	return wasWatched
}

func (w *fileWatcher) wake() <-chan struct{} { return w.awake }

func (w *fileWatcher) take() (map[string]bool, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	isAll := w.isAll
	w.isAll = false
	if len(w.names) == 0 {
		return nil, isAll, w.err
	}
	names := w.names
	w.names = make(map[string]bool)
	return names, isAll, w.err
}

func (w *fileWatcher) close() error {
	err := w.notify.Close()
	<-w.done
	return err
}

// run receives the notifications until close.
func (w *fileWatcher) run() {
	defer close(w.done)
	for {
		select {
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			w.record(event)
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			w.failed(err)
		}
		select {
		case w.awake <- struct{}{}:
		default:
		}
	}
}

func (w *fileWatcher) record(event fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case event.Op == fsnotify.Write && len(w.names) < maxChangedNames:
		w.names[filepath.Clean(event.Name)] = true
	case event.Op == fsnotify.Chmod: // what is removed is seen as such, too
	default:
		w.isAll = true
	}
	if w.watched[event.Name] && (event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename)) {
		delete(w.watched, event.Name) // if it comes back it has to be watched anew
	}
}

func (w *fileWatcher) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isAll = true
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		w.err = err
	}
}
