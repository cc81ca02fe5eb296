package file

import "fmt"

// Format is the format of the records in a file.
type Format int

const (
	// Lines: each line is a record, as raw data.
	Lines Format = iota + 1
	// JSONLines: each line is a JSON object, as structured data.
	JSONLines
	// CSV: the first row names the columns; each other row is a record, as structured
	// data that maps each column to a string.
	CSV
	// Records: each line is a whole OpenCDC record as JSON, with its metadata, key, and
	// payload. This is the format for dead letters.
	Records
)

var formatNames = [...]string{Lines: "lines", JSONLines: "JSON Lines", CSV: "CSV", Records: "records"}

// String returns the name of the format.
func (f Format) String() string {
	if !f.isKnown() {
		return fmt.Sprintf("Format(%d)", int(f))
	}
	return formatNames[f]
}

func (f Format) isKnown() bool { return f >= Lines && f <= Records }
