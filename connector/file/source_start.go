package file

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/conduitio/funnel/connector/file/internal/scan"
	"github.com/conduitio/funnel/internal/life"
	"github.com/conduitio/funnel/internal/place"
)

// start prepares a file for reading, unless it is ready. It returns false if the file is
// not to be read.
func (s *session) start(ctx context.Context, f *sourceFile) (bool, error) {
	if f.in != nil {
		return s.prepare(ctx, f)
	}
	if f.offset == 0 && s.fresh != nil && (f.isCompressed || !s.config.isFollowed) { // it may be a copy of a file that was read meanwhile
		isCopy, err := s.isCopyOfFinished(ctx, f)
		if isCopy || err != nil {
			return false, s.skipGone(ctx, f, err)
		}
	}
	in, err := openInput(f.name)
	if err != nil {
		return false, s.skipGone(ctx, f, err)
	}
	f.in = in
	if !os.SameFile(in.info, f.info) {
		if s.config.isFollowed {
			return false, s.leaveChanged(ctx, f)
		}
		if len(f.beginning) > 0 { // otherwise the file was empty, and nothing is missing
			return false, f.fault(f.offset, errChanged)
		}
	}
	f.info = in.info
	s.initialize(f)
	return s.prepare(ctx, f)
}

// initialize makes what a file needs that was opened.
func (s *session) initialize(f *sourceFile) {
	f.scanner = scan.Lines(s.config.maxRecordBytes)
	if s.format == CSV {
		f.scanner = scan.CSV(s.config.maxRecordBytes, s.config.comma)
	}
	if f.offset == 0 {
		f.digest.Reset()
	}
}

// prepare moves to where reading an open file begins, unless that was done. If the context
// ends meanwhile, another Read does it. A plain file stays open until then: its name may lead
// to another file, and its copies are recognised only while it is open.
func (s *session) prepare(ctx context.Context, f *sourceFile) (bool, error) {
	if !f.isPrepared && f.offset > 0 {
		if err := s.resume(ctx, f); err != nil {
			if !f.in.isPlain() { // what was decompressed has to be decompressed again
				if s.window.owner == f {
					s.window.owner = nil
				}
				_ = f.close()
			}
			return false, err
		}
	}
	f.isPrepared = true
	return true, nil
}

// skipGone drops a file that is gone. While following, it may turn up under another name.
func (s *session) skipGone(ctx context.Context, f *sourceFile, err error) error {
	if err != nil && !place.IsGone(err) {
		return err
	}
	if err != nil && s.place.IsFile() && !s.config.isFollowed {
		return err
	}
	if err != nil && s.config.isFollowed {
		return s.leaveChanged(ctx, f)
	}
	s.remove(f)
	if err != nil {
		lost := max(f.info.Size()-f.offset, 0)
		s.vanished(ctx, f.name, f.offset, lost)
		if f.offset > 0 {
			s.finish(f.known(true, time.Now()))
		}
	}
	return nil
}

// resume moves to the offset of a file. What was read before it was checked.
func (s *session) resume(ctx context.Context, f *sourceFile) error {
	if s.format == CSV {
		header, err := s.readHeader(ctx, f.in)
		if err != nil {
			return f.fault(0, err)
		}
		f.header = header
	}
	if f.in.isPlain() {
		return nil
	}
	s.switchTo(f)
	want := f.digest.Sum64()
	again := &sourceFile{in: f.in}
	again.digest.Reset()
	s.window.load(f, 0)
	for again.offset < f.offset {
		if err := life.Ended(ctx); err != nil {
			return err
		}
		if len(s.window.data()) == 0 {
			if err := again.fill(&s.window); err != nil {
				return f.fault(again.offset, err)
			}
		}
		again.consume(&s.window, int(min(int64(len(s.window.data())), f.offset-again.offset)), false)
	}
	if again.digest.Sum64() != want {
		return f.fault(f.offset, errChanged)
	}
	return nil
}

// readHeader reads the header of a file of which rows were read before. It leaves the window
// alone: a compressed file may be in it.
func (s *session) readHeader(ctx context.Context, in *input) ([]string, error) {
	in = in.again()
	defer in.stop()
	f := &sourceFile{in: in, scanner: scan.CSV(s.config.maxRecordBytes, s.config.comma)}
	var w window
	w.load(f, 0)
	for {
		if err := life.Ended(ctx); err != nil {
			return nil, err
		}
		isMarkSeen := f.offset > 0 || f.skipMark(&w)
		for isMarkSeen {
			p := f.scanner.Next(w.data(), f.isEnd, false)
			if p.Damage != nil {
				return nil, fmt.Errorf("the header: %w", p.Damage)
			}
			if p.Content > 0 {
				return s.decoder.header(w.data()[:p.Content])
			}
			if p.Len == 0 {
				break
			}
			f.consume(&w, p.Len, p.IsOpen)
		}
		if f.isEnd {
			return nil, nil
		}
		switch err := f.fill(&w); err {
		case nil:
		case io.EOF:
			f.isEnd = true
		default:
			return nil, err
		}
	}
}
