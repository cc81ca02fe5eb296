package funnel

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/conduitio/conduit-commons/config"
	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// FromSDK returns a processor that runs p, a processor of the Conduit processor SDK, with
// the given settings. If p is nil, so is the result. The settings are copied.
//
// Open wraps p in the SDK's default middleware, with p's MiddlewareOptions, and checks the
// settings against p's Specification. It drops spaces around names and values, and fills in
// the defaults of missing values. If a name is not declared, or a value has the wrong type
// or breaks a validation, Open returns an error that names the parameter. Then it calls
// Configure and Open of p. If one of them fails, it calls Teardown, as Conduit does. If the
// processor is opened again, p is also configured again, which it must support.
//
// The default middleware decodes keys and payloads by the schemas that the metadata of
// the records names, and encodes them again. It needs a schema service that knows these
// schemas; a host sets it as schema.SchemaService of the SDK. So the middleware is off,
// whatever the MiddlewareOptions say, unless the settings switch a part of it on:
//
//	sdk.schema.decode.key.enabled      sdk.schema.decode.payload.enabled
//	sdk.schema.encode.key.enabled      sdk.schema.encode.payload.enabled
//
// If the middleware cannot decode a record, it returns a single error, as if for the first
// record of the call. So if the middleware is on, and the only result for several records
// is an error, Process calls p again, for the first record alone.
//
// The SDK logs to its package variable pprocutils.Logger, which writes to standard output
// unless the host sets it. The SDK's ParseConfig logs at level debug.
//
// One goroutine at a time calls p. Process returns what p returns, and costs nothing else
// while the middleware is off.
func FromSDK(p sdk.Processor, settings config.Config) Processor {
	if isNil(p) {
		return nil
	}
	return &sdkProcessor{plain: p, current: p, settings: maps.Clone(settings)}
}

type sdkProcessor struct {
	plain    sdk.Processor
	settings config.Config

	current    sdk.Processor // plain or, after Open, with middleware
	hasSchemas bool          // the middleware is on
}

// schemaParameters returns the names of the parameters that switch the middleware on.
func schemaParameters() []string {
	var decode sdk.ProcessorWithSchemaDecodeConfig
	var encode sdk.ProcessorWithSchemaEncodeConfig
	return []string{
		decode.SchemaKeyEnabledParameterName(), decode.SchemaPayloadEnabledParameterName(),
		encode.SchemaKeyEnabledParameterName(), encode.SchemaPayloadEnabledParameterName(),
	}
}

func (p *sdkProcessor) Open(ctx context.Context) error {
	wrapped, spec, err := p.wrap()
	if err != nil {
		return fmt.Errorf("failed to get the specification of the processor: %w", err)
	}
	settings, err := p.configuration(spec.Parameters)
	if err != nil {
		return fmt.Errorf("the settings of the processor %s are invalid: %w", quote(spec.Name), err)
	}
	p.hasSchemas = slices.ContainsFunc(schemaParameters(), func(name string) bool {
		isOn, _ := strconv.ParseBool(settings[name])
		return isOn
	})
	p.current = wrapped
	if err := start(ctx, wrapped, settings); err != nil {
		return also(err, func() error { return wrapped.Teardown(ctx) })
	}
	return nil
}

// start configures and opens a processor.
func start(ctx context.Context, p sdk.Processor, settings config.Config) error {
	if err := p.Configure(ctx, settings); err != nil {
		return fmt.Errorf("failed to configure the processor: %w", err)
	}
	if err := p.Open(ctx); err != nil {
		return fmt.Errorf("failed to open the processor: %w", err)
	}
	return nil
}

// wrap returns the processor with the middleware, which it adds if it is missing, and the
// specification.
func (p *sdkProcessor) wrap() (sdk.Processor, sdk.Specification, error) {
	spec, err := p.plain.Specification()
	if err != nil {
		return nil, spec, err
	}
	for _, name := range schemaParameters() {
		if _, ok := spec.Parameters[name]; ok {
			return p.plain, spec, nil
		}
	}
	wrapped := sdk.ProcessorWithMiddleware(p.plain, sdk.DefaultProcessorMiddleware(p.plain.MiddlewareOptions()...)...)
	spec, err = wrapped.Specification()
	return wrapped, spec, err
}

// configuration returns the settings with the defaults of the parameters. It returns an
// error if they are invalid.
func (p *sdkProcessor) configuration(parameters config.Parameters) (config.Config, error) {
	settings := maps.Clone(p.settings).Sanitize()
	for _, name := range schemaParameters() {
		if _, ok := parameters[name]; ok && settings[name] == "" {
			settings[name] = "false"
		}
	}
	settings.ApplyDefaults(parameters)
	return settings, settings.Validate(parameters)
}

func (p *sdkProcessor) Process(ctx context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	results := p.current.Process(ctx, records)
	if p.hasSchemas && len(results) == 1 && len(records) > 1 {
		if _, ok := results[0].(sdk.ErrorRecord); ok {
			return p.current.Process(ctx, records[:1:1])
		}
	}
	return results
}

func (p *sdkProcessor) Teardown(ctx context.Context) error { return p.current.Teardown(ctx) }
