// Package file reads records from files, and appends records to files. [Source] and
// [Destination] are connectors of funnel. With package position, a pipeline of them continues
// where it stopped, after any crash.
//
// # Reading
//
// A [Source] reads the records of a file, of the files in a directory, or of the files that
// match a pattern. It begins with the files of which it has already read a part. The others
// follow in the natural order of their paths (a2 before a10). Then the source ends or, with
// [WithFollow], waits for more.
//
//	source, err := file.NewSource("logs/*.jsonl*", file.JSONLines, position, file.WithFollow())
//
// Files that are compressed with gzip or zstd are recognised by their first bytes and
// decompressed. They may consist of several parts. An incomplete or corrupt file is an error,
// after the records before the damage. (The checksum of gzip is at the end of a part, so a
// corrupt part may yield some wrong records before the error.) All offsets count decompressed
// bytes.
//
// The source never writes to the files. Its memory does not grow with their size: it holds
// some hundred KiB, or twice [WithMaxRecordBytes], some KiB for each file, and what the batch
// needs; zstd may need a window of up to 128 MiB.
//
// # Records
//
// A record is a line, or a row of [CSV]. It has the operation create and no key. Its metadata
// holds the path of the file and the number of the record's first line ([MetadataPath],
// [MetadataLine]). With [Records], the operation, metadata, key and payload are those of the
// record in the file. The formats in detail:
//
//   - Lines end with \n or \r\n. The end of the last line may be missing; a source that
//     follows the file waits for it. A byte order mark at the beginning is skipped.
//   - [Lines]: an empty line is an empty record. The JSON formats ignore blank lines, and CSV
//     ignores empty lines.
//   - [JSONLines]: integers become int64 or, above its range, uint64. Other numbers become
//     float64 if that holds their decimal value, and [encoding/json.Number] otherwise, so
//     that no digit is lost. Duplicate names, invalid UTF-8, and more than 9,900 levels are
//     refused.
//   - [CSV]: every file begins with a header. A column without a name, two columns with the
//     same name, or a header with a lone \r outside of quotes end the source with an error.
//     Inside quotes, \r\n becomes \n.
//   - [Records]: the JSON form of [opencdc.Record]. Any part may be missing. Its position is
//     ignored.
//
// A line or row that does not fit the format, or is longer than [WithMaxRecordBytes], does
// not stop the source, and none of it is left out. It becomes a record with raw data and with
// the reason in its metadata ([MetadataError]). This record ends at the next line end or at
// the maximum length, whichever comes first, and reading continues right after it. So a quote
// that is never closed damages one line. The rest of an overlong line is damaged, too, and so
// is text that is appended to a last line that was already read without its end.
//
// # Positions
//
// A position says how far the source has read in all files, so the last acked position is
// enough to resume; [ParsePosition] shows what is in it. A file is known by its content: by a
// hash of its first bytes, up to 1 KiB, and by the checksum (xxHash64) of all bytes that were
// read. When the source is opened, it reads these bytes again and compares. That takes time,
// but it finds a file that was renamed, copied or compressed. Path, device and inode only
// decide between files that have been the same so far.
//
//   - A file that was read in part is continued. If it is gone, one of its copies is
//     continued instead.
//   - A file with the content of one that was read to its end is left out. So two files with
//     the same content count as one.
//   - A file that has grown since it was read to its end is continued. If fewer than 1,024
//     bytes were read, its path or inode must be the same, too. Otherwise it may be another
//     file with the same beginning, and is read from its own beginning: it is better to read
//     it twice than not at all.
//   - If a file that was read in part was truncated or replaced, and no other file has the
//     content that was read, Open returns an error that names the path and the offset. With
//     [WithStartAnew], the file is read from its beginning instead. A finished file that was
//     truncated or replaced is read from its beginning without an error, since its path may
//     belong to another file now. The file of the last acked record counts as read in part.
//   - Without [WithFollow], a file that was replaced after Open and before its turn is an
//     error of Read. The next Open finds both files.
//   - If a file ends with a record without a line end, that record may be cut off again, as a
//     [Destination] does when it repairs the file. The content before it is still recognised.
//
// Open does not read a finished file again if its path, inode, size, modification time and
// first bytes are the same. Finished files that are gone are forgotten, except for the last
// 1,000.
//
// # Following
//
// With [WithFollow], the source looks for changes once a second ([WithPollPeriod]), and at
// once where the file system sends notifications. It keeps the files that it follows open.
// Before it continues in a file, it compares the beginning of the file, and the bytes before
// the offset, with what it has read. The records of a file come in order. Plain files with
// more records than fit into a batch take turns, and so do files that grow at the same time.
// A compressed file is read to its end.
//
// Logs may be rotated in the usual ways. A renamed file is read to its end before the new
// file with its old name. If its new name is not among the paths of the source, or if it was
// deleted, it is read until it has not grown for 10 s ([WithSettlePeriod]), in case a slow
// writer still appends to it. If a file was copied and truncated, the source continues in the
// copy, and reads the file from its beginning; a pattern such as app.log* lets it find the
// copy. Without a copy, the bytes that vanished before they were read are counted
// ([SourceStats]) and logged. What is appended and removed again between two looks cannot be
// seen.
//
// [Source.Lag] says how far the source is behind, for a supervisor such as package runner.
//
// A compressed file is read once it is complete. If it is incomplete and has not changed for the
// settle period, it is an error, after the records before its end. So is a file that the source
// has had no permission to read for that long.
//
// A new file is a copy, and is not read, if a plain file, followed or also new, begins with all
// of its bytes, decompressed if need be. Names do not matter. Of identical new files, one is
// read. These files are read nevertheless:
//
//   - A file shorter than 1,024 bytes and than the other file, once it has not changed for the
//     settle period. Until then it may be an unfinished copy.
//   - A plain file that appears while a complete compressed one with the same content waits to
//     be read, or is being read.
//   - A copy that grows on its own: from where it ended, if the other file was read that far and
//     a record ended there, and otherwise from its beginning.
//
// # Writing
//
// A [Destination] appends records to files, and acks them once they are synced. At any time,
// at most one append to each file is not synced, so a crash tears only the end of a file, and
// the next opening cuts that off. A path can contain parts of the record, as in
// {{table}}/{{date}}.jsonl: whatever the record holds, the file is below the directory in
// which the first placeholder stands.
package file
