// Package funnelmock has mocks of the interfaces of funnel for
// [go.uber.org/mock/gomock], with typed calls.
package funnelmock

//go:generate go run go.uber.org/mock/mockgen@v0.6.0 -typed -write_package_comment=false -package funnelmock -destination mocks.go github.com/conduitio/funnel Source,Destination,Processor,Task
