// Package parquet reads records from Parquet files. [Source] is a connector of funnel. With
// package position, a pipeline that begins with it continues where it stopped, after any
// crash.
//
// A [Source] reads the rows of a file, of the files in a directory, or of the files that
// match a pattern. It begins with the files of which it has already read a part. The others
// follow in the natural order of their paths (a2 before a10). Then the source ends.
//
//	source, err := parquet.NewSource("exports/*.parquet", position)
//
// A source uses one CPU. It reads the pages of all columns side by side, each page once. It
// holds one page of each column, the dictionaries of a row group, and a batch of records. So
// its memory depends on the size of the pages, usually some MiB for each column at most, and
// not on the sizes of row groups and files.
//
// # Records
//
// A record is a row. It has the operation create and no key. Its metadata holds the path of
// the file and the number of the row ([MetadataPath], [MetadataRow]). Its payload is
// structured data with a field for each column at the top of the schema. The types of the
// columns become these types of Go:
//
//	BOOLEAN                       bool
//	INT32, INT64                  int32, int64
//	INT(bits, signed)             int8 to int64, uint8 to uint64
//	FLOAT, DOUBLE                 float32, float64
//	BYTE_ARRAY, FIXED_LEN_...     []byte
//	STRING, ENUM, JSON            string; the bytes are not checked or changed
//	UUID                          string, such as 123e4567-e89b-12d3-a456-426614174000
//	DECIMAL                       json.Number, exact, with as many decimals as the scale
//	DATE                          time.Time at midnight UTC
//	TIMESTAMP, INT96              time.Time in UTC; a local time keeps its date and clock time
//	TIME                          time.Duration since midnight
//	null                          nil
//	group                         map[string]any
//	LIST, repeated column         []any
//	MAP whose keys are strings    map[string]any
//	MAP with other keys           []any of map[string]any with the fields key and value
//	MAP without values            []any of its keys
//
// The old forms of these types (UTF8, TIMESTAMP_MILLIS, lists of two levels …) are read like
// the new ones. Any other type is an error of Open that names the file and the column. So is
// encryption, and any compression other than SNAPPY, GZIP, BROTLI and ZSTD. (LZ4_RAW is not
// supported, since the library returns wrong values for some pages. A logical type that is
// newer than the library is ignored.) A value that its type cannot hold is an error of Read,
// and so is a key that occurs twice in a map whose keys are strings.
//
// # Positions
//
// A position says how far the source has read in all files, so the last acked position is
// enough to resume; [ParsePosition] returns what it says. In each column, the source goes
// straight to the page of the row, provided that the file has an index of its pages and the
// headers of the pages confirm it. Otherwise it reads the row group from its beginning.
// Headers of version 1 cannot confirm the index of a repeated column.
//
// The source expects that files do not change. A file is known by its content, so it is found
// wherever it is, renamed or copied.
//
//   - A file that was read to its end is left out, and so are its copies. All bytes of a copy
//     are the same, by a checksum (xxHash64). So a corrected file is read, even if only one
//     value differs.
//   - A file that was read in part continues at its row. If it is gone or was touched, the
//     source continues in the file with the same size, the same footer, and the same bytes in
//     16 samples of 1 KiB. It does not compare the bytes between the samples, so it may not
//     notice that the file was replaced. If several files match and differ from each other,
//     Open returns an error that names two of them. With [WithStartAnew], they are read from
//     their first rows instead.
//   - If another file has taken the path of a file that was read in part, and no file matches
//     what was read, Open returns an error that names the path and the row. With
//     [WithStartAnew], the new file is read from its first row instead.
//   - If a file that was read in part is gone, its unread rows are counted ([SourceStats]) and
//     logged. If it comes back, it continues at its row.
//
// Files that are gone are forgotten, except for the last 1,000 that were finished and the last
// 1,000 that were read in part.
//
// # Checksums
//
// The source makes a checksum of all bytes of each file before it reads the last row; the
// position of that row holds the checksum. It hashes the bytes of a row group once it has read
// the rows, while the bytes are in memory. If it has resumed in the middle of a file, it reads
// the whole file for the checksum at the end.
//
// A file with the size, the footer and the samples of a finished file may be a copy of it. To
// find out, the source makes its checksum in Open or before the first row. That is not needed
// if the path, inode, size and modification time show that it is the finished file, unchanged;
// the modification time counts if it is at least 2 seconds old. Copies, and finished files
// that were moved or touched, are remembered in the positions of the records that follow.
// Until there is such a record, each Open reads these files again.
//
// A checksum takes one pass over the file with a buffer of 64 KiB, about 30 ms for 100 MB that
// are in memory. That is less than 1 % of the time to read small rows, and 15 % if a row holds
// 1,000 uncompressed bytes. If the context of Read or Open ends, the call may be repeated;
// Read continues the checksum where it stopped.
//
// A file that changes while it is read is an error of Read, at its last row at the latest.
//
// # Damage
//
// A damaged file is an error of Read that names the file and the first row that cannot be
// read. It comes after all rows before that row. The source compares the checksums of pages,
// where the file has them. Without them, and in footers and page headers, which have none, it
// looks for contradictions between numbers of rows and values, levels, sizes and names. If the
// pages of a column do not hold as many values as the footer says, no row of that row group is
// read. All sizes in footers and headers, such as those of pages, are checked before memory is
// allocated for them. Sizes inside a page are not: a damaged page without a checksum may cost
// gigabytes, if it says that a value is repeated very often. A panic of the library that
// decodes the pages becomes an error. All this finds damage; it does not protect against files
// that are made to use up memory.
package parquet
