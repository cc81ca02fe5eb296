package typenote

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scalar restores a value that holds no others.
func scalar(v any, n note) (any, error) {
	into := reflect.New(n.t).Elem()
	var err error
	switch into.Kind() {
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok || n.more != "" {
			return nil, fmt.Errorf("it is %s, not a boolean", describe(v))
		}
		into.SetBool(b)
	case reflect.String:
		var text string
		text, err = stringValue(v, n)
		into.SetString(text)
	case reflect.Float32, reflect.Float64:
		var f float64
		f, err = float(v, n.more, into.Type().Bits())
		into.SetFloat(f)
	case reflect.Slice:
		var b []byte
		b, err = bytesValue(v, n)
		into.SetBytes(b)
	default:
		var digits string
		if digits, err = integer(v, n.more); err == nil {
			err = setInteger(into, digits)
		}
	}
	if err != nil {
		return nil, err
	}
	return into.Interface(), nil
}

func setInteger(into reflect.Value, digits string) error {
	bits := into.Type().Bits()
	if into.CanInt() {
		n, err := strconv.ParseInt(digits, 10, bits)
		into.SetInt(n)
		return err
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	into.SetUint(n)
	return err
}

// integer returns the digits of an integer. noted holds the digits from its note, or is
// empty.
func integer(v any, noted string) (string, error) {
	if noted == "" {
		return digitsOf(v)
	}
	f, err := strconv.ParseFloat(noted, 64)
	if err != nil || !isInteger(noted) || len(noted) > maxDigits {
		return "", fmt.Errorf("the note on it is invalid: %s is no integer", quote(noted))
	}
	if v, ok := v.(float64); ok {
		if v != f {
			return "", disagree(v, noted)
		}
		return noted, nil // the decoder has rounded it
	}
	digits, err := digitsOf(v)
	if err == nil && digits != noted {
		err = disagree(digits, noted)
	}
	return noted, err
}

func disagree(v any, noted string) error {
	return fmt.Errorf("it is %v, but %s in the note on it", v, quote(noted))
}

const maxDigits = len("-9223372036854775808")

// isInteger returns true if the text is an integer in decimal digits.
func isInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// digitsOf returns the digits of a number that is an integer. It returns an error for a
// float that may have been rounded.
func digitsOf(v any) (string, error) {
	switch v := v.(type) {
	case json.Number:
		if isInteger(string(v)) {
			return string(v), nil
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return "", err
		}
		return digitsOf(f)
	case float64:
		switch {
		case v != math.Trunc(v) || math.IsInf(v, 0):
			return "", fmt.Errorf("it is %v, not an integer", v)
		case math.Abs(v) >= exact:
			return "", fmt.Errorf("it is the float64 %.0f, which may have been another integer: decode numbers as json.Number", v)
		default:
			return strconv.FormatInt(int64(v), 10), nil
		}
	}
	switch r := reflect.ValueOf(v); {
	case v == nil:
	case r.CanInt():
		return strconv.FormatInt(r.Int(), 10), nil
	case r.CanUint():
		return strconv.FormatUint(r.Uint(), 10), nil
	}
	return "", fmt.Errorf("it is %s, not an integer", describe(v))
}

// float returns a float with this number of bits.
func float(v any, noted string, bits int) (float64, error) {
	switch noted {
	case "":
		return floatOf(v, bits)
	case "-0":
		if f, err := floatOf(v, bits); err != nil || f != 0 {
			return 0, fmt.Errorf("it is %v, but -0 in the note on it", v)
		}
		return math.Copysign(0, -1), nil
	case "NaN", "+Inf", "-Inf":
	default:
		return 0, fmt.Errorf("the note on it is invalid: %s is no such float", quote(noted))
	}
	f, err := strconv.ParseFloat(noted, 64)
	if err != nil {
		return 0, err
	}
	// JSON has no number for it, so encoders write what they like.
	if got, err := floatOf(v, bits); err == nil && got != f && (got == got || f == f) {
		return 0, disagree(v, noted)
	}
	return f, nil
}

// floatOf returns a number as a float with this number of bits. It returns an error if no
// encoder writes that number for such a float.
func floatOf(v any, bits int) (float64, error) {
	switch v := v.(type) {
	case float64:
		if bits == 64 {
			return v, nil
		}
		f := float32(v)
		text := strconv.FormatFloat(float64(f), 'g', -1, 32)
		if shortest, err := strconv.ParseFloat(text, 64); float64(f) != v && (err != nil || shortest != v) && v == v {
			return 0, fmt.Errorf("it is %v, not a float32", v)
		}
		return float64(f), nil
	case float32:
		return float64(v), nil
	case json.Number:
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return 0, err
		}
		return floatOf(f, bits)
	}
	digits, err := digitsOf(v)
	if err != nil {
		return 0, fmt.Errorf("it is %s, not a number", describe(v))
	}
	return strconv.ParseFloat(digits, bits)
}

// number returns a json.Number, whose digits are in its note. Some encoders write it as a
// string, and an empty one as 0.
func number(v any, n note) (json.Number, error) {
	noted := n.more
	switch v := v.(type) {
	case json.Number:
		if string(v) == noted {
			return v, nil
		}
	case string:
		if v == noted {
			return json.Number(v), nil
		}
	}
	text, err := textOf(n)
	if err != nil {
		return "", err
	}
	digits, err := digitsOf(v)
	if noted == "" && digits == "0" {
		return "", nil
	}
	if _, isFloat := v.(float64); err == nil && !isFloat && text.isInteger && isInteger(digits) && digits != noted {
		return "", disagree(v, noted)
	}
	got, err := floatOf(v, 64)
	switch {
	case err != nil:
		return "", err
	case text.err != nil || got != text.number:
		return "", disagree(v, noted)
	}
	return json.Number(noted), nil
}

// stringValue returns a string. noted holds its bytes if they are not valid UTF-8, since
// encoders replace what is invalid.
func stringValue(v any, n note) (string, error) {
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("it is %s, not a string", describe(v))
	}
	if n.more == "" {
		return text, nil
	}
	noted, err := textOf(n)
	if err != nil {
		return "", err
	}
	if replaced(text) != noted.replaced {
		return "", disagree(quote(text), n.more)
	}
	return noted.original, nil
}

// replaced replaces each run of bytes that are invalid, or were already replaced, by one
// replacement character.
func replaced(text string) string {
	var b strings.Builder
	wasOdd := false
	for _, r := range text {
		isOdd := r == utf8.RuneError
		if !isOdd || !wasOdd {
			b.WriteRune(r)
		}
		wasOdd = isOdd
	}
	return b.String()
}

// bytesValue returns bytes, which may have become Base64.
func bytesValue(v any, n note) ([]byte, error) {
	b, err := decodeBytes(v)
	switch {
	case err != nil:
		return nil, err
	case b == nil:
		return nil, fmt.Errorf("it is null, but no note says that the %v was nil", n.t)
	case n.t != named["opencdc.RawData"] && n.more != "":
		return nil, fmt.Errorf("the note on it is invalid: unexpected %s after the type", quote(n.more))
	case n.t == named["opencdc.RawData"] && n.more != strconv.Itoa(len(b)):
		return nil, fmt.Errorf("it has %d bytes, but %s in the note on it", len(b), quote(n.more))
	}
	return b, nil
}

// decodeBytes returns a copy of bytes, or the bytes that a Base64 string stands for.
func decodeBytes(v any) ([]byte, error) {
	if text, ok := v.(string); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("it is a string, but no Base64: %w", err)
		}
		return b, nil
	}
	if v == nil {
		return nil, nil
	}
	r := reflect.ValueOf(v)
	switch {
	case r.Kind() != reflect.Slice || r.Type().Elem().Kind() != reflect.Uint8:
		return nil, fmt.Errorf("it is %s, not bytes", describe(v))
	case r.IsNil():
		return nil, nil
	default:
		return append([]byte{}, r.Bytes()...), nil
	}
}
