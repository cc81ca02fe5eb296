package file

// WithoutNotifications lets a source only poll, so that its time is that of a bubble.
func WithoutNotifications() SourceOption { return withWatcher(nil) }

// WithLooks calls do in each look, after the files were listed. There are no notifications.
func WithLooks(do func()) SourceOption {
	return withWatcher(func() (watcher, error) { return lookWatcher{do}, nil })
}

type lookWatcher struct{ do func() }

func (w lookWatcher) add(string) (bool, error) {
	w.do()
	return false, nil
}

func (lookWatcher) wake() <-chan struct{}                { return nil }
func (lookWatcher) take() (map[string]bool, bool, error) { return nil, false, nil }
func (lookWatcher) close() error                         { return nil }
