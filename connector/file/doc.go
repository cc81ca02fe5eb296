// Package file reads records from files, and appends records to files. [Source] and
// [Destination] are connectors of funnel. With package position, a pipeline of them goes on
// where it was after any crash.
//
// # Reading
//
// A [Source] reads the records of a file, of the files in a directory, or of those that
// match a pattern: first the files of which it has read a part before, then the others, in
// the natural order of their paths (a2 before a10). Then it ends. With [WithFollow] it
// waits for more instead.
//
//	source, err := file.NewSource("logs/*.jsonl*", file.JSONLines, position, file.WithFollow())
//
// Files that are compressed by gzip or zstd are told by their first bytes, and read
// through. They may have several parts. One that is incomplete or corrupt is an error,
// after the records before that place. (The checksum of gzip stands at the end of a part, so
// a corrupt part may give some wrong records before the error.) Offsets count decompressed
// bytes everywhere.
//
// The source never writes to the files. Memory does not grow with their size: it holds some
// hundred KiB, or twice [WithMaxRecordBytes], some KiB for each file, and what the batch
// needs; zstd may need a window of up to 128 MiB.
//
// # Records
//
// A record is a line, or a row of [CSV]. It has the operation create, and the path and the
// number of its first line in its metadata ([MetadataPath], [MetadataLine]). The key is
// nil. For [Records] operation, metadata, key and payload are those of the record in the
// file. The formats in detail:
//
//   - Lines end with \n or \r\n. The end of the last line may be missing; while the source
//     follows the file, it waits for it. A byte order mark at the beginning is skipped.
//   - [Lines]: an empty line is an empty record. JSON ignores lines of blanks, CSV ignores
//     empty lines.
//   - [JSONLines]: integers become int64 or, above its range, uint64. Other numbers become
//     float64 if that holds their decimal value, and [encoding/json.Number] otherwise, so
//     that no digit is lost. Names that occur twice, invalid UTF-8, and more than 9,900
//     levels are refused.
//   - [CSV]: every file begins with a header. A column without a name, or two with the same
//     one, end the source with an error. Inside quotes \r\n becomes \n.
//   - [Records]: the JSON form of [opencdc.Record]. Any part may be missing. Its position is
//     ignored.
//
// A line or row that is not what the format demands, or is longer than
// [WithMaxRecordBytes], does not stop the source, and nothing of it is left out. It is
// passed on as raw data up to the next line end or up to that bound, whichever comes first,
// with the reason in its metadata ([MetadataError]). Reading goes on right there. So a
// quote that is never closed damages one line. What follows an overlong piece in the same
// line is damaged, too, and so is what is appended to a last line that was read without
// its end.
//
// # Positions
//
// A position says where the source stands in all files, so that it can resume from the last
// acked position alone; [ParsePosition] shows what is in it. A file is known by its
// content: by a hash of its first bytes, up to 1 KiB, and by the checksum (xxHash64) of all
// bytes that were read. When the source is opened, it reads these bytes again and compares.
// That takes time, but it finds a file wherever it is: renamed, copied, or compressed. Path,
// device and inode only decide between files that are the same so far.
//
//   - A file that was read in part goes on where it stood, in one of its copies if it is
//     gone itself.
//   - A file with the content of one that was read to its end is left out. So two files
//     with the same content count as one.
//   - A file that has grown since it was read to its end goes on there. If fewer than 1,024
//     bytes were read, its path or inode must be the same, too. Otherwise it may be another
//     file with the same beginning, and is read from its own beginning: rather twice than
//     not at all.
//   - If a file that was read in part was truncated or replaced, and what was read of it is
//     nowhere else, Open returns an error that names path and offset. With [WithStartAnew]
//     the file is read from its beginning instead. So is a finished file, without an error:
//     its path may have got another file. The file of the position's record counts as read
//     in part.
//   - A last record without an end may be cut off again, as a [Destination] does when it
//     repairs a file. What was read before it is still known.
//
// Only a finished file whose path, inode, size, time of change and first bytes are as they
// were is not read again to compare. Finished files that are gone are forgotten, but for
// the last 1,000.
//
// # Following
//
// With [WithFollow] the source looks for changes once a second ([WithPollPeriod]), and at
// once where the file system sends notifications. It keeps the files open that it follows.
// Before it goes on in a file it compares the beginning, and what stands before the offset,
// with what it has read. The records of a file come in order. Files that grow at the same
// time take turns, batch by batch.
//
// Logs may be rotated in the usual ways. A file that was renamed is read to its end before
// the new one with its name. If its new name is not among the paths of the source, or if it
// was deleted, it is read until it has not grown for 10 s ([WithSettlePeriod]), in case a
// slow writer still appends to it. If a file was copied and truncated, the source goes on in
// the copy, and reads the file from its beginning; a pattern such as app.log* lets it find
// the copy. If there is none, the bytes that were there and were not read are counted
// ([SourceStats]) and logged. What was appended and removed between two looks cannot be seen.
//
// A compressed file is read when it is complete. If it stays incomplete for the settle
// period, it counts as broken. So does a new file that may not be read for so long. A file that holds the beginning of one that is followed is
// taken for a copy of it; if it is shorter than 1,024 bytes and the file, and stays so for
// the settle period, it is read.
//
// # Writing
//
// A [Destination] appends records to files, and acks them once they are synced. At any time
// at most one append is not synced, so a crash tears only the end of a file, and the next
// opening cuts that off. A path can take parts from the record, as in
// {{table}}/{{date}}.jsonl: whatever the record says, the file is below the directory in
// which the first placeholder stands.
package file
