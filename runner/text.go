package runner

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxText is the maximum length of a text in a [Status], in bytes.
const maxText = 2048

// errorText returns the text of err without the stacks of panics.
func errorText(err error) string {
	return clean(err, textOf(err, func() string { return err.Error() }))
}

// textOf returns what f returns. If f panics, it returns a text that reveals nothing of
// the error.
func textOf(err error, f func() string) (text string) {
	if err == nil {
		return ""
	}
	if callErr := call(func() error { text = f(); return nil }); callErr != nil {
		return fmt.Sprintf("(an error of type %T, whose text cannot be made)", err)
	}
	return text
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
func (g *Group) statusText(pipeline string, err error) string {
	if err == nil {
		return ""
	}
	if g.errorText == nil {
		return shorten(errorText(err))
	}
	// What the runner adds to an error is no secret, and worth keeping.
	if used, ok := err.(*attemptsError); ok {
		return shorten(used.prefix() + g.statusText(pipeline, used.err))
	}
	return shorten(clean(err, textOf(err, func() string { return g.errorText(pipeline, err) })))
}
