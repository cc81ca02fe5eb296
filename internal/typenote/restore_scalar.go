package typenote

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
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
		text, err = stringValue(v, n.more)
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
	if err != nil || !isInteger(noted) {
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
		return strconv.ParseFloat(string(v), bits)
	}
	digits, err := digitsOf(v)
	if err != nil {
		return 0, fmt.Errorf("it is %s, not a number", describe(v))
	}
	return strconv.ParseFloat(digits, bits)
}

// number returns a json.Number. Its digits are in its note.
func number(v any, noted string) (json.Number, error) {
	n, isNumber := v.(json.Number)
	if isNumber && string(n) == noted {
		return n, nil
	}
	digits, err := digitsOf(v)
	if err == nil && isInteger(digits) && isInteger(noted) {
		if _, isFloat := v.(float64); !isFloat && digits != noted {
			return "", disagree(v, noted)
		}
	}
	want, wantErr := strconv.ParseFloat(noted, 64)
	got, err := floatOf(v, 64)
	switch {
	case err != nil:
		return "", err
	case wantErr != nil || got != want:
		return "", disagree(v, noted)
	}
	return json.Number(noted), nil
}

// stringValue returns a string. noted holds its bytes if they are not valid UTF-8, since
// encoders replace what is invalid.
func stringValue(v any, noted string) (string, error) {
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("it is %s, not a string", describe(v))
	}
	if noted == "" {
		return text, nil
	}
	original, err := base64.StdEncoding.Strict().DecodeString(noted)
	if err != nil {
		return "", fmt.Errorf("the note on it is invalid: %w", err)
	}
	if replaced(text) != replaced(string(original)) {
		return "", disagree(quote(text), noted)
	}
	return string(original), nil
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

// time returns a time. noted has its offset and location, or is empty for UTC.
func (s *restorer) time(v any, noted string) (time.Time, error) {
	if t, ok := v.(time.Time); ok {
		return t, nil
	}
	text, ok := v.(string)
	if !ok {
		return time.Time{}, fmt.Errorf("it is %s, not a time", describe(v))
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, err
	}
	offset, location := 0, time.UTC
	if noted != "" {
		if offset, location, err = s.location(noted); err != nil {
			return time.Time{}, err
		}
	}
	// The text has the offset in minutes only.
	_, minutes := t.Zone()
	if minutes != offset/60*60 {
		return time.Time{}, disagree(text, noted)
	}
	t = t.Add(time.Duration(minutes-offset) * time.Second)
	in := t.In(location)
	if _, is := in.Zone(); is == offset {
		return in, nil
	}
	if location == time.Local { // the local location of another machine
		return t.In(time.FixedZone("", offset)), nil
	}
	return time.Time{}, fmt.Errorf("the time zone %s has another offset here than %d seconds at %s", quote(location.String()), offset, text)
}

// location returns the offset and the location that the note on a time holds.
func (s *restorer) location(noted string) (offset int, location *time.Location, err error) {
	number, rest, _ := strings.Cut(noted, " ")
	kind, name, _ := strings.Cut(rest, " ")
	offset, err = strconv.Atoi(number)
	if err != nil || offset < -100*3600 || offset > 100*3600 {
		return 0, nil, fmt.Errorf("the note on it is invalid: %s is no offset in seconds", quote(number))
	}
	switch kind {
	case "fixed":
		return offset, time.FixedZone(name, offset), nil
	case "local":
		return offset, time.Local, nil
	case "zone":
		location, err = s.zone(name)
		return offset, location, err
	default:
		return 0, nil, fmt.Errorf("the note on it is invalid: %s is no location", quote(rest))
	}
}

// zone loads a time zone, once.
func (s *restorer) zone(name string) (*time.Location, error) {
	if location := s.zones[name]; location != nil {
		return location, nil
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("its time zone %s cannot be loaded: %w", quote(name), err)
	}
	if s.zones == nil {
		s.zones = make(map[string]*time.Location)
	}
	s.zones[name] = location
	return location, nil
}
