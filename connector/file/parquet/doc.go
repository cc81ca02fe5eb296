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
// Files are taken to be immutable, and are known by what is in them. So they are found
// wherever they are, renamed or copied.
//
//   - A file that was read to its end is left out, and so are its copies. A copy has the same
//     bytes, all of them, by a checksum (xxHash64). So a correction of a file is read, even if
//     only one value is another one.
//   - A file that was read in part goes on at its row. If it is gone or was touched, the file
//     goes on that has its size, its footer, and its bytes in 16 samples of a KiB. What is
//     between them is not compared, so that it may go unnoticed if the file was replaced. If
//     several files look like it, and they differ, Open returns an error that names two of
//     them. With [WithStartAnew] they are read from their first rows instead.
//   - If there is another file at the path of one that was read in part, and what was read is
//     nowhere else, Open returns an error that names path and row. With [WithStartAnew] the
//     new file is read from its first row instead.
//   - If a file that was read in part is gone, its rows are counted ([SourceStats]) and
//     logged. If it comes back, it goes on at its row.
//
// Finished files that are gone are forgotten, but for the last 1,000.
//
// # Checksums
//
// The source makes a checksum of all bytes of each file before it reads the last row, whose
// position holds it. It adds a row group when it has read the rows of it, while the bytes are
// in memory. After a restart in the middle of a file it reads the file for it at the end. It
// also makes the checksum of a file, in Open or before the first row, that has the size, the
// footer and the samples of a finished one, to see whether it is a copy. It does not if path,
// inode, size and time of change say that nothing has changed; that time counts if it is at
// least 2 seconds ago. Copies, and finished files that were moved or touched, are remembered in
// the positions of the records that follow. Until there is one, each Open reads them.
//
// A checksum takes one pass over the file with a buffer of 64 KiB, some 30 ms for 100 MB that
// are in memory. That is less than 1 % of the time for reading small rows, and 15 % if a row
// holds 1,000 bytes that are not compressed. A Read or an Open that ends with its context may
// be called again; Read goes on with the checksum where it was.
//
// A file that changes while it is read is an error of Read, at its last row at the latest.
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
