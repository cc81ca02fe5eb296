package position

import (
	"crypto/sha256"
	"encoding/hex"
)

const (
	// suffix is that of the file of a source.
	suffix = ".position"
	// newSuffix is added while a file is made, and nextSuffix while one is made that
	// replaces a file.
	newSuffix  = ".new"
	nextSuffix = ".next"

	maxEscaped   = 128 // bytes of an escaped ID that is a name as it is
	shownEscaped = 48  // bytes of a longer one in the name
)

// fileName returns the name of the file of a source. Two IDs never have the same name, even
// where a file system ignores case, and the name is at most 128 bytes long besides the
// suffix.
//
// Lower-case letters, digits, "-" and "_" stand for themselves, and "%" with two hex digits
// for any other byte, so a name has neither separators nor dots. Of a long ID the name has
// the beginning and, after "~", the SHA-256 checksum. "%" alone is the empty ID.
func fileName(id string) string {
	if id == "" {
		return "%" + suffix
	}
	var escaped []byte
	for i := 0; i < len(id) && len(escaped) <= maxEscaped; i++ {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			escaped = append(escaped, c)
		default:
			escaped = append(escaped, '%')
			escaped = hex.AppendEncode(escaped, []byte{c})
		}
	}
	if len(escaped) > maxEscaped {
		sum := sha256.Sum256([]byte(id))
		escaped = append(escaped[:shownEscaped], '~')
		escaped = hex.AppendEncode(escaped, sum[:])
	}
	return string(escaped) + suffix
}
