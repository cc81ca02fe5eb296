package file

// WithoutNotifications lets a source only poll, so that its time is that of a bubble.
func WithoutNotifications() SourceOption { return withWatcher(nil) }
