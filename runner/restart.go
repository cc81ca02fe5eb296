package runner

import (
	"fmt"
	"math"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/conduitio/funnel"
)

// Restart says when a pipeline is restarted after a failed run. Zero in a field means the
// default.
type Restart struct {
	// InitialInterval is the pause before the first restart. The default is 1 s.
	InitialInterval time.Duration
	// MaxInterval is the longest pause, before Jitter is added. The default is 1 min, or
	// InitialInterval if that is longer. It must not be less than InitialInterval.
	MaxInterval time.Duration
	// Multiplier is the ratio of each pause to the one before. It must be at least 1. The
	// default is 2.
	Multiplier float64
	// Jitter is the largest fraction of a pause by which it is made shorter or longer, at
	// random, so that pipelines that failed together do not restart together. It must not be
	// above 1. The default is 0.2. A negative value means no jitter.
	Jitter float64
	// Attempts is the number of restarts that Window allows. The next failure degrades the
	// pipeline. The default is 10. A negative value means no limit. To restart never, let
	// [WithClassifier] return [Fatal].
	Attempts int
	// Window is the length of the sliding window in which restarts are counted. The default
	// is 10 min.
	Window time.Duration
	// Healthy is how long a run must be running to count as healthy. After a healthy run,
	// failures in a row are counted from 0, and the pauses begin at InitialInterval. The
	// window is not emptied. The default is 1 min.
	Healthy time.Duration
}

func (r Restart) withDefaults() (Restart, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"InitialInterval", &r.InitialInterval, time.Second},
		{"MaxInterval", &r.MaxInterval, max(time.Minute, r.InitialInterval)},
		{"Window", &r.Window, 10 * time.Minute},
		{"Healthy", &r.Healthy, time.Minute},
	} {
		if *d.value < 0 {
			return r, fmt.Errorf("invalid Restart: %s is %v, but must not be negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if r.MaxInterval < r.InitialInterval {
		return r, fmt.Errorf("invalid Restart: MaxInterval is %v, but InitialInterval is %v", r.MaxInterval, r.InitialInterval)
	}
	if r.Multiplier == 0 {
		r.Multiplier = 2
	}
	if !(r.Multiplier >= 1) || math.IsInf(r.Multiplier, 0) {
		return r, fmt.Errorf("invalid Restart: Multiplier is %v, but must be at least 1", r.Multiplier)
	}
	switch {
	case r.Jitter == 0:
		r.Jitter = 0.2
	case r.Jitter < 0:
		r.Jitter = 0
	case !(r.Jitter <= 1):
		return r, fmt.Errorf("invalid Restart: Jitter is %v, but must be at most 1", r.Jitter)
	}
	if r.Attempts == 0 {
		r.Attempts = 10
	}
	return r, nil
}

// pauses returns the series of pauses.
func (r Restart) pauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     r.InitialInterval,
		RandomizationFactor: r.Jitter,
		Multiplier:          r.Multiplier,
		MaxInterval:         r.MaxInterval,
	}
}

// Class says whether a failed run is followed by another one.
type Class int

// The classes of errors.
const (
	// Unclassified leaves the decision to [funnel.IsFatalError]. It is the zero value.
	Unclassified Class = iota
	// Transient errors may go away: the pipeline is restarted.
	Transient
	// Fatal errors would recur after a restart: the pipeline is degraded at once.
	Fatal
)

// String returns the name of the class, such as "transient".
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case Fatal:
		return "fatal"
	default:
		return "unclassified"
	}
}

// classify returns Transient or Fatal for err, and err itself. A panic of the host's function
// is joined to err.
func classify(err error, classifier func(error) Class) (Class, error) {
	class := Unclassified
	if classifier != nil {
		if callErr := call(func() error { class = classifier(err); return nil }); callErr != nil {
			err = join(err, fmt.Errorf("failed to classify the error: %w", callErr))
		}
	}
	if class != Transient && class != Fatal {
		class = Transient
		if funnel.IsFatalError(err) {
			class = Fatal
		}
	}
	return class, err
}
