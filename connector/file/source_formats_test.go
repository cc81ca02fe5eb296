package file_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/conduitio/funnel/connector/file"
)

func TestSource_formats(t *testing.T) {
	for name, tc := range map[string]struct {
		format  file.Format
		content string
		opts    []file.SourceOption
		want    []string
	}{
		"lines":                {file.Lines, "a\nb\n", nil, []string{"a", "b"}},
		"no last line end":     {file.Lines, "a\nb", nil, []string{"a", "b"}},
		"empty lines":          {file.Lines, "\na\n\n", nil, []string{"", "a", ""}},
		"CRLF":                 {file.Lines, "a\r\nb\r\n\r\nc\r", nil, []string{"a", "b", "", "c\r"}},
		"nothing":              {file.Lines, "", nil, []string{}},
		"byte order mark":      {file.Lines, "\xef\xbb\xbfa\n", nil, []string{"a"}},
		"only a mark":          {file.Lines, "\xef\xbb\xbf", nil, []string{}},
		"part of a mark":       {file.Lines, "\xef\xbb", nil, []string{"\xef\xbb"}},
		"mark in the middle":   {file.Lines, "a\n\xef\xbb\xbfb\n", nil, []string{"a", "\xef\xbb\xbfb"}},
		"zero bytes":           {file.Lines, "a\x00b\n", nil, []string{"a\x00b"}},
		"line over the bound":  {file.Lines, "abcdefgh\nx\n", []file.SourceOption{file.WithMaxRecordBytes(3)}, []string{"!abc", "!def", "!gh", "x"}},
		"line of the bound":    {file.Lines, "abc\r\nabc\nabc", []file.SourceOption{file.WithMaxRecordBytes(3)}, []string{"abc", "abc", "abc"}},
		"twice the bound":      {file.Lines, "abcdef\r\nx", []file.SourceOption{file.WithMaxRecordBytes(3)}, []string{"!abc", "!def", "x"}},
		"twice the bound, end": {file.Lines, "abcdef", []file.SourceOption{file.WithMaxRecordBytes(3)}, []string{"!abc", "!def"}},

		"JSON":              {file.JSONLines, `{"a":1}` + "\n\n \t\r\n" + ` {"b":[{"c":null},true,"x\n"]} `, nil, []string{`map[a:1]`, "map[b:[map[c:<nil>] true x\n]]"}},
		"JSON, blanks":      {file.JSONLines, "\t{ \"a\" : \"x\" , \"" + strings.Repeat("n", 70) + "\" :\"y\",\"l\" : [ \"z\" ,\"\" ] } \n", nil, []string{"map[a:x l:[z ] " + strings.Repeat("n", 70) + ":y]"}},
		"JSON, long line":   {file.JSONLines, "{\"a\":\"" + strings.Repeat("x", 5000) + "\",\"b\":\"y\"}", nil, []string{"map[a:" + strings.Repeat("x", 5000) + " b:y]"}},
		"JSON, not objects": {file.JSONLines, "1\n[]\n\"a\"\nnull\n{}\n", nil, []string{"!1", "![]", `!"a"`, "!null", "map[]"}},
		"JSON, damaged":     {file.JSONLines, "{\"a\":}\n{\"a\":1\n{\"a\":1}}\n{\"a\":1}{}\n{a:1}\n{\"b\":2}\n", nil, []string{`!{"a":}`, `!{"a":1`, `!{"a":1}}`, `!{"a":1}{}`, `!{a:1}`, `map[b:2]`}},
		"JSON, same names":  {file.JSONLines, `{"a":1,"a":2}`, nil, []string{`!{"a":1,"a":2}`}},
		"JSON, not UTF-8":   {file.JSONLines, "{\"a\":\"\xff\"}\n{\"\xff\":1}", nil, []string{"!{\"a\":\"\xff\"}", "!{\"\xff\":1}"}},
		"JSON, escapes":     {file.JSONLines, `{"a\u0062":"\u00e9\"","long\tname":"c"}`, nil, []string{"map[ab:é\" long\tname:c]"}},
		"JSON over a bound": {file.JSONLines, "{\"a\":11}\n{\"a\":1}\n", []file.SourceOption{file.WithMaxRecordBytes(7)}, []string{`!{"a":11`, `!}`, "map[a:1]"}},
		"JSON, tricky rest": {file.JSONLines, "{\"a\":11}{\"a\":1}\n", []file.SourceOption{file.WithMaxRecordBytes(8)}, []string{`!{"a":11}`, `!{"a":1}`}},

		"CSV":                {file.CSV, "a,b\n1,2\n\n3,\n", nil, []string{"map[a:1 b:2]", "map[a:3 b:]"}},
		"CSV, CRLF and BOM":  {file.CSV, "\xef\xbb\xbfa,b\r\n1,\"x\r\ny\"\r\n", nil, []string{"map[a:1 b:x\ny]"}},
		"CSV, quotes":        {file.CSV, "\"a\",b\n\"x\"\"y\",\"1\n2,\n\"\n\"\",\n", nil, []string{"map[a:x\"y b:1\n2,\n]", "map[a: b:]"}},
		"CSV, no line end":   {file.CSV, "a,b\n1,\"2\"", nil, []string{"map[a:1 b:2]"}},
		"CSV, only a header": {file.CSV, "a,b", nil, []string{}},
		"CSV, empty":         {file.CSV, "\n\r\n", nil, []string{}},
		"CSV, fields":        {file.CSV, "a,b\n1\n1,2,3\n4,5\n", nil, []string{"!1", "!1,2,3", "map[a:4 b:5]"}},
		"CSV, bare quote":    {file.CSV, "a,b\n1,x\"y\n2,\"x\"y\n3,4\n", nil, []string{"!1,x\"y", "!2,\"x\"y", "map[a:3 b:4]"}},
		"CSV, open quote":    {file.CSV, "a,b\n1,\"x\n2,y\n3,z\n", nil, []string{"!1,\"x", "map[a:2 b:y]", "map[a:3 b:z]"}},
		"CSV, quote, bound":  {file.CSV, "a,b\n1,\"x\n2,y\n3,z\n", []file.SourceOption{file.WithMaxRecordBytes(6)}, []string{"!1,\"x", "map[a:2 b:y]", "map[a:3 b:z]"}},
		"CSV, lines, fields": {file.CSV, "a,b\n\"1\n2\"\n3,4\n", nil, []string{"!\"1", "!2\"", "map[a:3 b:4]"}},
		"CSV, not UTF-8":     {file.CSV, "a,b\n1,\xff\n2,3\n", nil, []string{"!1,\xff", "map[a:2 b:3]"}},
		"CSV, row too long":  {file.CSV, "a,b\n1,2345678\n2,3\n", []file.SourceOption{file.WithMaxRecordBytes(4)}, []string{"!1,23", "!4567", "!8", "map[a:2 b:3]"}},
		"CSV, returns":       {file.CSV, "a,b\n1,2\r\r\n3,4\r\n5,6\r", nil, []string{"map[a:1 b:2\r]", "map[a:3 b:4]", "map[a:5 b:6]"}},
		"CSV, one return":    {file.CSV, "a\n\r\r\n\"b\"\r", nil, []string{"map[a:\r]", "map[a:b]"}},
		"CSV, semicolon":     {file.CSV, "a;b\n1,0;2\n", []file.SourceOption{file.WithComma(';')}, []string{"map[a:1,0 b:2]"}},
		"CSV, long comma":    {file.CSV, "a→b\n\"x→\"→2\n1→\"y\"\n", []file.SourceOption{file.WithComma('→')}, []string{"map[a:x→ b:2]", "map[a:1 b:y]"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, t.TempDir(), "f", tc.content)
			got := texts(mustReadAll(t, opened(t, path, tc.format, nil, tc.opts...)))
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
