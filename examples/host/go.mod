module example.com/host

go 1.25.0

require (
	github.com/conduitio/conduit-commons v0.6.0
	github.com/conduitio/funnel v0.0.0
	github.com/rs/zerolog v1.35.1
)

replace github.com/conduitio/funnel => ../..
