// Package parquet reads records from Parquet files. [Source] is a connector of funnel. With
// package position, a pipeline that begins with it goes on where it was after any crash.
//
// A [Source] reads the rows of a file, of the files in a directory, or of those that match a
// pattern: first the files of which it has read a part before, then the others, in the
// natural order of their paths (a2 before a10). Then it ends.
//
//	source, err := parquet.NewSource("exports/*.parquet", position)
//
// A source uses one CPU. It reads the pages of all columns side by side, each page once, and
// holds one page of each column, the dictionaries of a row group, and a batch of records.
// So memory depends on the size of pages, some MiB a column at most in usual files, and not
// on the sizes of row groups and files.
//
// # Records
//
// A record is a row. It has the operation create, and the path and the number of the row in
// its metadata ([MetadataPath], [MetadataRow]). The key is nil. The payload is structured
// data with a field for each column at the top of the schema. The types of the format become
// types of Go:
//
//	BOOLEAN                       bool
//	INT32, INT64                  int32, int64
//	INT(bits, signed)             int8 to int64, uint8 to uint64
//	FLOAT, DOUBLE                 float32, float64
//	BYTE_ARRAY, FIXED_LEN_...     []byte
//	STRING, ENUM, JSON            string; the bytes are not checked or changed
//	UUID                          string, such as 123e4567-e89b-12d3-a456-426614174000
//	DECIMAL                       json.Number, exactly, with as many digits as the scale says
//	DATE                          time.Time at midnight UTC
//	TIMESTAMP, INT96              time.Time in UTC; of a local time it has date and clock
//	TIME                          time.Duration since midnight
//	null                          nil
//	group                         map[string]any
//	LIST, repeated column         []any
//	MAP whose keys are strings    map[string]any
//	MAP with other keys           []any of map[string]any with the fields key and value
//	MAP without values            []any of its keys
//
// The old forms of these types (UTF8, TIMESTAMP_MILLIS, lists of two levels …) count as the
// new ones. Any other type is an error of Open that names file and column, and so is a
// compression other than SNAPPY, GZIP, BROTLI and ZSTD, or encryption. (LZ4_RAW is left out
// since the library gives wrong values for some pages. A logical type that is newer than the
// library counts as none.) A value that its type cannot hold, or a key that occurs twice in a
// map whose keys are strings, is an error of Read.
//
// # Positions
//
// A position says where the source stands in all files, so that it can resume from the last
// acked position alone; [ParsePosition] shows what is in it. In each column the source goes
// straight to the page of the row if the file has an index of the pages that their headers
// confirm, and reads the row group from its beginning if not. Headers of version 1 cannot
// confirm the index of a repeated column.
//
// Files are taken to be immutable. A file is known by its size, by a hash of its footer, and
// by a hash of a sample of what is before that: of the first KiB, and of 15 more, spread
// evenly. So it is found wherever it is, renamed or copied. Two files of the same size and
// with the same footer that differ only between these samples count as copies, and the second
// one is left out: a few changed numbers in a table without compression may be such a
// difference. Give files of that kind different footers, for example a time in the metadata.
//
//   - A file that was read in part goes on at its row, in one of its copies if it is gone
//     itself.
//   - A file that was read to its end is left out, and so are its copies.
//   - If there is another file at the path of one that was read in part, and what was read is
//     nowhere else, Open returns an error that names path and row. With [WithStartAnew] the
//     new file is read from its first row instead.
//   - If a file that was read in part is gone, its rows are counted ([SourceStats]) and
//     logged. If it comes back, it goes on at its row.
//
// Finished files that are gone are forgotten, but for the last 1,000.
//
// # Damage
//
// A damaged file is an error of Read that names the file and the first row that cannot be
// read, after all rows before it. The checksums of pages are compared, where the file has
// them. Without them, and in footers and the headers of pages, which have none, what can
// contradict itself is compared: numbers of rows and values, levels, sizes, names. If the
// numbers of values in all pages of a column are not what the footer says, no row of that row
// group is read. Sizes of pages, and all sizes in footers and headers, are checked before
// memory is allocated for them. What a page says inside of it is not: a damaged page without
// a checksum may cost gigabytes, if it says that a value is repeated very often. A panic of
// the library that decodes the pages becomes an error. All this finds damage; it does not
// protect from files that were made to use up memory.
package parquet
