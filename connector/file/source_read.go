package file

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file/internal/scan"
	"github.com/conduitio/funnel/internal/life"
)

// readFile adds records of a file to the batch, until the batch is full or the file has no
// more now.
func (s *session) readFile(ctx context.Context, f *sourceFile, b *batch) error {
	s.switchTo(f)
	w := &s.window
	for {
		isMore, err := s.takePieces(f, b)
		if !isMore || err != nil {
			return err
		}
		if f.isEnd {
			return s.ended(f)
		}
		if err := life.Ended(ctx); err != nil {
			return err
		}
		err = s.fillFollowed(f)
		switch {
		case err == nil:
		case err == io.EOF && f.isLast(s.config.isFollowed):
			f.isEnd = true
		case err == io.EOF:
			f.isIdle = true
			return nil
		case err == errChanged && s.config.isFollowed:
			return s.leaveChanged(ctx, f)
		case err == errBegun:
			f.isIdle = true
			s.follow.lookAt = time.Time{} // the next look identifies it
			return nil
		default:
			return f.fault(w.endOffset(), err)
		}
	}
}

// fillFollowed reads more of a file. It returns errBegun if an empty file has got its first
// bytes.
func (s *session) fillFollowed(f *sourceFile) error {
	if s.config.isFollowed && f.in.kind == undecided && !f.isFinal {
		if err := f.in.detect(); err != nil {
			return err
		}
		switch {
		case f.in.kind == undecided:
			return io.EOF
		case f.offset == 0:
			f.in.kind = undecided
			return errBegun
		}
		f.in.kind = plain
	}
	return f.fill(&s.window)
}

// isLast returns true if nothing is expected behind the end of the file.
func (f *sourceFile) isLast(isFollowed bool) bool {
	return !isFollowed || f.isFinal || !f.in.isPlain()
}

// takePieces adds the records in the window to the batch. It returns false if the batch is
// full.
func (s *session) takePieces(f *sourceFile, b *batch) (isMore bool, err error) {
	w := &s.window
	if f.offset == 0 && !f.skipMark(w) {
		return true, nil
	}
	for !b.isFull() {
		p := f.scanner.Next(w.data(), f.isEnd, f.isRest)
		if p.Len == 0 {
			return true, nil
		}
		if err := s.takePiece(f, b, p); err != nil {
			return false, err
		}
	}
	return false, nil
}

// takePiece adds the record of a piece to the batch, if it is one.
func (s *session) takePiece(f *sourceFile, b *batch, p scan.Piece) error {
	w := &s.window
	reason := p.Damage
	text := w.data()[:p.Content]
	switch {
	case f.isRest && p.Content == 0, !f.isRest && reason == nil && s.decoder.isBlank(text):
		f.consume(w, p.Len, p.IsOpen)
		return nil
	case s.format == CSV && f.header == nil && !f.isRest:
		header, err := []string(nil), reason
		if err == nil {
			header, err = s.decoder.header(text)
		}
		if err != nil {
			return f.fault(f.offset, fmt.Errorf("the header: %w", err))
		}
		f.header = header
		f.consume(w, p.Len, p.IsOpen)
		return nil
	}
	rec := b.next()
	if reason == nil {
		if s.format == Lines {
			rec.Payload.After = b.copy(text)
		} else if reason = s.decoder.decode(rec, text, f.header); reason != nil {
			*rec = opencdc.Record{}
			if s.format == CSV { // only its first line is damaged
				p = f.scanner.Line(w.data()[:p.Len])
				text = text[:p.Content]
			}
		}
	}
	if reason != nil {
		rec.Payload.After = b.copy(text)
		s.stats.RecordsDamaged++
	}
	if rec.Operation == 0 {
		rec.Operation = opencdc.OperationCreate
	}
	line := f.lines + 1
	f.consume(w, p.Len, p.IsOpen)
	s.bytes += f.offset - f.counted
	f.counted = f.offset
	s.record++
	s.stats.Records++
	s.makeHead(f)
	b.positions = append(b.positions, s.head...)
	b.positions = appendTail(b.positions, s.headSum, s.record, s.bytes, f.offset, f.digest.Sum64())
	b.added(f.name, line, len(text), reason)
	return nil
}

// ended finishes a file that was read to its end.
func (s *session) ended(f *sourceFile) error {
	info, err := f.in.file.Stat()
	if err != nil {
		return err
	}
	isSame := info.Size() == f.in.info.Size() && info.ModTime().Equal(f.in.info.ModTime())
	if f.in.isPlain() {
		isSame = info.Size() == f.offset
	}
	f.info = info
	k := f.known(true, time.Now())
	if !isSame {
		k.hints.stat = 0 // the rest is read another time
	}
	s.bytes += f.offset - f.counted
	s.stats.FilesFinished++
	s.remove(f)
	s.finish(k)
	if s.config.isFollowed && !f.isLost {
		s.follow.copies[f.name] = &copied{info: info, known: k}
	}
	return nil
}
