module github.com/conduitio/funnel/connector/file

go 1.25.0

replace github.com/conduitio/funnel => ../../
