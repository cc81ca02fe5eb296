package runner

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// maxText is the maximum length of a text in a [Status], in bytes.
const maxText = 2048

// errorText returns the text of err without the stacks of panics.
func errorText(err error) string {
	return clean(err, textOf(err, func() string { return err.Error() }))
}

// textOf returns the result of f, or noText if f panics.
func textOf(err error, f func() string) (text string) {
	if err == nil {
		return ""
	}
	if callErr := call(func() error { text = f(); return nil }); callErr != nil {
		return noText(err)
	}
	return text
}

// noText stands for a text that cannot be made. It reveals nothing of the error.
func noText(err error) string {
	return fmt.Sprintf("(an error of type %T, whose text cannot be made)", err)
}

// textTime is the longest time that making a text may take.
const textTime = time.Second

// texts makes the texts of a pipeline's errors with functions of the host, which may hang. It
// waits for each call at most for textTime. While one is late, it makes no further call, so
// that few goroutines hang. It is safe for concurrent use.
type texts struct{ late atomic.Int32 }

// of returns the result of f, or noText.
func (t *texts) of(err error, f func() string) string {
	if t.late.Load() > 0 {
		return noText(err)
	}
	made := make(chan string)
	isLate := make(chan struct{})
	go func() {
		text := textOf(err, f)
		select {
		case made <- text:
		case <-isLate:
			t.late.Add(-1)
		}
	}()
	timer := time.NewTimer(textTime)
	defer timer.Stop()
	select {
	case text := <-made:
		return text
	case <-timer.C:
		t.late.Add(1)
		close(isLate)
		return noText(err)
	}
}

// clean removes the stacks of the panics in err from text, and makes text valid UTF-8.
func clean(err error, text string) string {
	for _, p := range panicsIn(err) {
		if stack := string(p.Stack); stack != "" {
			text = strings.ReplaceAll(text, "\n\n"+stack, "")
			text = strings.ReplaceAll(text, stack, "")
		}
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// shorten cuts a text in valid UTF-8 that is longer than maxText.
func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	suffix := fmt.Sprintf("... (%d bytes)", len(text))
	end := maxText - len(suffix)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + suffix
}

// statusText returns the text of err for a Status.
func (p *pipeline) statusText(err error) string {
	if err == nil {
		return ""
	}
	redact := p.g.errorText
	if redact == nil {
		redact = func(_ string, err error) string { return err.Error() }
	}
	// What the runner adds to an error is no secret, and worth keeping.
	if used, ok := err.(*attemptsError); ok {
		return shorten(used.prefix() + p.statusText(used.err))
	}
	return shorten(p.texts.of(err, func() string { return clean(err, redact(p.name, err)) }))
}
