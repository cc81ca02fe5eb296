package funnel

import (
	"errors"
	"fmt"
	"time"
)

// RetryPolicy says how often, and after which pauses, a worker calls a task again if the
// task has given no answer for any of its records. See [Processor] for what counts as no
// answer.
type RetryPolicy struct {
	// MaxCalls is the number of consecutive calls without an answer after which the
	// worker stops with [ErrNoProgress]. 0 means 16, a negative number means no limit.
	MaxCalls int
	// MinPause is the pause before the second call. Each further pause is twice as long,
	// up to MaxPause. 0 means 1 ms, or MaxPause if that is shorter.
	MinPause time.Duration
	// MaxPause is the longest pause. 0 means 1 s, or MinPause if that is longer.
	MaxPause time.Duration
}

// WithRetryPolicy replaces the default policy, which gives up after 16 calls and about
// six seconds. A more patient policy survives longer outages of a service that a
// processor needs. Meanwhile the batch does not move on, and [Worker.Stop] waits. A pause
// ends early if the context of [Worker.Do] ends.
//
// [NewWorker] returns an error if a pause is negative, or if MinPause is longer than
// MaxPause.
func WithRetryPolicy(policy RetryPolicy) WorkerOption {
	return workerOption(func(o *options) error {
		policy, err := policy.withDefaults()
		if err != nil {
			return fmt.Errorf("invalid retry policy: %w", err)
		}
		o.retry = policy
		return nil
	})
}

// withDefaults returns the policy with the default in place of each zero.
func (p RetryPolicy) withDefaults() (RetryPolicy, error) {
	if p.MinPause < 0 || p.MaxPause < 0 {
		return p, errors.New("a pause is negative")
	}
	if p.MaxCalls == 0 {
		p.MaxCalls = maxUnansweredCalls
	}
	switch {
	case p.MinPause == 0 && p.MaxPause == 0:
		p.MinPause, p.MaxPause = minRetryPause, maxRetryPause
	case p.MinPause == 0:
		p.MinPause = min(minRetryPause, p.MaxPause)
	case p.MaxPause == 0:
		p.MaxPause = max(maxRetryPause, p.MinPause)
	case p.MinPause > p.MaxPause:
		return p, fmt.Errorf("the shortest pause, %v, is longer than the longest, %v", p.MinPause, p.MaxPause)
	}
	return p, nil
}
