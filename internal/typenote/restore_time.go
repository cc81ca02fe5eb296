package typenote

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
	if err != nil || len(number) > maxDigits || offset < -100*3600 || offset > 100*3600 {
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
