module github.com/conduitio/funnel/connector/file

go 1.26

require (
	github.com/conduitio/conduit-commons v0.6.0
	github.com/conduitio/funnel v0.0.0
	github.com/go-json-experiment/json v1.27.2
)

require (
	github.com/goccy/go-json v0.10.5 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/rs/zerolog v1.35.1 // indirect
	golang.org/x/sys v0.33.0 // indirect
	google.golang.org/protobuf v1.36.6 // indirect
)

replace github.com/conduitio/funnel => ../../
