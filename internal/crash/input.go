package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
)

func inputDir(dir string, source int) string { return filepath.Join(dir, fmt.Sprintf("in-%d", source)) }

func textOf(source, id int) string { return fmt.Sprintf("record %d of source %d", id, source) }

// inputLine returns the line of a record.
func (p plan) inputLine(source, id int) string {
	return fmt.Sprintf(`{"source":%d,"id":%d,"name":"%s","text":"%s"}`+"\n", source, id, p.fate(source, id).name, textOf(source, id))
}

// makeInput makes the files that a source reads. Together they hold its records in order.
func (p plan) makeInput(dir string, source int) error {
	const files = 3
	in := inputDir(dir, source)
	if err := os.Mkdir(in, 0o755); err != nil {
		return err
	}
	for i := range files {
		name := filepath.Join(in, fmt.Sprintf("part-%d.jsonl", i))
		var text bytes.Buffer
		for id := p.records * i / files; id < p.records*(i+1)/files; id++ {
			text.WriteString(p.inputLine(source, id))
		}
		if p.gzipped && i == 1 {
			name += ".gz"
			var compressed bytes.Buffer
			w := gzip.NewWriter(&compressed)
			if _, err := text.WriteTo(w); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			text = compressed
		}
		if err := os.WriteFile(name, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
