package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/config"
	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
	"github.com/conduitio/conduit-processor-sdk/pprocutils"
	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// sdkFake is a processor of the SDK that writes its calls to a journal.
type sdkFake struct {
	sdk.UnimplementedProcessor
	*fake.Journal
	parameters config.Parameters
	errs       map[string]error // by call
	process    fake.Processor
	options    []sdk.ProcessorMiddlewareOption
}

func (p *sdkFake) Specification() (sdk.Specification, error) {
	return sdk.Specification{Name: "fake", Parameters: maps.Clone(p.parameters)}, p.errs["specification"]
}

func (p *sdkFake) Configure(_ context.Context, settings config.Config) error {
	words := []string{"configure"}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		words = append(words, name+"="+settings[name])
	}
	p.Add(words...)
	settings["spoiled"] = "by the processor"
	return p.errs["configure"]
}

func (p *sdkFake) Open(context.Context) error {
	p.Add("open")
	return p.errs["open"]
}

func (p *sdkFake) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	p.AddRecords("process", recs)
	if p.process != nil {
		return p.process(ctx, recs)
	}
	return fake.Each(fake.Pass)(ctx, recs)
}

func (p *sdkFake) Teardown(context.Context) error {
	p.Add("teardown")
	return p.errs["teardown"]
}

func (p *sdkFake) MiddlewareOptions() []sdk.ProcessorMiddlewareOption { return p.options }

func newSDKFake() *sdkFake {
	return &sdkFake{Journal: &fake.Journal{}, errs: make(map[string]error), parameters: config.Parameters{
		"field": {Type: config.ParameterTypeString, Validations: []config.Validation{config.ValidationRequired{}}},
		"count": {Type: config.ParameterTypeInt, Default: "7"},
	}}
}

// Open configures the processor with its settings and defaults, and opens it, each time.
func TestFromSDK_life(t *testing.T) {
	inner := newSDKFake()
	settings := config.Config{" field ": " name "}
	p := funnel.FromSDK(inner, settings)
	settings[" field "] = "changed later"
	for range 2 {
		fake.WantNoError(t, p.Open(t.Context()))
		if got := resultsText(p.Process(t.Context(), fake.Numbered(3))); got != "0 1 2" {
			t.Errorf("the results are %s", got)
		}
		fake.WantNoError(t, p.Teardown(t.Context()))
		inner.Want(t, "", "configure count=7 field=name", "open", "process 0 1 2", "teardown")
		inner.Clear()
	}
}

// An invalid setting is an error that names the parameter. Nothing is called then.
func TestFromSDK_invalidSettings(t *testing.T) {
	for name, tt := range map[string]struct {
		settings config.Config
		err      error
		words    string
	}{
		"missing":      {nil, config.ErrRequiredParameterMissing, `"field"`},
		"not declared": {config.Config{"field": "x", "feild": "y"}, config.ErrUnrecognizedParameter, `"feild"`},
		"wrong type":   {config.Config{"field": "x", "count": "many"}, config.ErrInvalidParameterType, `"count"`},
		"middleware":   {config.Config{"field": "x", "sdk.schema.decode.key.enabled": "maybe"}, config.ErrInvalidParameterType, `"sdk.schema.decode.key.enabled"`},
	} {
		inner := newSDKFake()
		p := funnel.FromSDK(inner, tt.settings)
		fake.WantError(t, p.Open(t.Context()), tt.err, tt.words, `processor "fake"`)
		if len(inner.Lines("")) > 0 {
			t.Errorf("%s: called: %v", name, inner.Lines(""))
		}
	}
}

// If the processor cannot be configured or opened, it is torn down, and no error is lost.
func TestFromSDK_openFails(t *testing.T) {
	errTeardown := errors.New("teardown error")
	for call, want := range map[string][]string{
		"specification": nil,
		"configure":     {"configure count=7 field=x", "teardown"},
		"open":          {"configure count=7 field=x", "open", "teardown"},
	} {
		inner := newSDKFake()
		inner.errs[call], inner.errs["teardown"] = fake.ErrTest, errTeardown
		err := funnel.FromSDK(inner, config.Config{"field": "x"}).Open(t.Context())
		fake.WantError(t, err, fake.ErrTest, call[:4])
		if errors.Is(err, errTeardown) != (want != nil) {
			t.Errorf("%s: %v", call, err)
		}
		inner.Want(t, "", want...)
	}
}

// withSchemas returns records whose metadata names schemas that do not exist.
func withSchemas(positions ...string) []opencdc.Record {
	recs := fake.Records(positions...)
	for i := range recs {
		recs[i].Key = opencdc.RawData("key")
		recs[i].Metadata.SetKeySchemaSubject("nowhere")
		recs[i].Metadata.SetKeySchemaVersion(1)
		recs[i].Metadata.SetPayloadSchemaSubject("nowhere")
		recs[i].Metadata.SetPayloadSchemaVersion(1)
	}
	return recs
}

// The middleware is off, whatever the processor prefers, unless a setting switches it on.
func TestFromSDK_middleware(t *testing.T) {
	isOn := true
	for _, tt := range []struct {
		setting string
		wrap    bool // the processor has the middleware already
		want    string
	}{
		{"", false, "1"},
		{"", true, "1"},
		{"sdk.schema.decode.key.enabled", false, "failed to decode key"},
		{"sdk.schema.decode.key.enabled", true, "failed to decode key"},
		{"sdk.schema.decode.payload.enabled", false, "failed to decode payload"},
		{"sdk.schema.encode.key.enabled", false, "for key"},
		{"sdk.schema.encode.payload.enabled", false, "for payload"},
	} {
		inner := newSDKFake()
		inner.options = []sdk.ProcessorMiddlewareOption{
			sdk.ProcessorWithSchemaDecodeConfig{KeyEnabled: &isOn}, sdk.ProcessorWithSchemaEncodeConfig{PayloadEnabled: &isOn},
		}
		inner.process = fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
			rec.Key, rec.Payload.After = opencdc.StructuredData{}, opencdc.StructuredData{}
			return sdk.SingleRecord(rec)
		})
		settings := config.Config{"field": "x"}
		if tt.setting != "" {
			settings[tt.setting] = "true"
		}
		var given sdk.Processor = inner
		if tt.wrap {
			given = sdk.ProcessorWithMiddleware(inner, sdk.DefaultProcessorMiddleware()...)
		}
		p := funnel.FromSDK(given, settings)
		fake.WantNoError(t, p.Open(t.Context()))
		inner.Want(t, "configure", "configure count=7 field=x")
		if got := resultsText(p.Process(t.Context(), withSchemas("1"))); got != tt.want && (tt.setting == "" || !strings.Contains(got, tt.want)) {
			t.Errorf("%+v: the result is %s", tt, got)
		}
	}
}

// The SDK's middleware blames the first record of a call for one that it cannot decode.
// Only that one goes to the dead-letter queue.
func TestFromSDK_blamesTheRightRecord(t *testing.T) {
	logger := pprocutils.Logger
	defer func() { pprocutils.Logger = logger }()
	pprocutils.Logger = zerolog.Nop() // the SDK warns of records without schemas
	for _, setting := range []string{"sdk.schema.decode.key.enabled", "sdk.schema.decode.payload.enabled"} {
		j := &fake.Journal{}
		recs := fake.Numbered(5) // without schemas
		recs[3] = withSchemas("3")[0]
		p := funnel.FromSDK(newSDKFake(), config.Config{"field": "x", setting: "true"})
		source := fake.NewSource(j, fake.Read{Records: recs})
		fake.WantNoError(t, fake.Run(t, fake.DLQ(j), fake.From(source), fake.Through("p", p), fake.Out(j)))
		j.WantGiven(t, "0 1 2 4", "3", "0 1 2 3 4")
	}
}

// Without the middleware, results are passed on as they are: the processor is not called
// again.
func TestFromSDK_passesResultsOn(t *testing.T) {
	inner := newSDKFake()
	results := []sdk.ProcessedRecord{sdk.ErrorRecord{Error: fake.ErrTest}}
	inner.process = fake.Returns(results...)
	p := funnel.FromSDK(inner, config.Config{"field": "x", "sdk.schema.decode.key.enabled": "false"})
	fake.WantNoError(t, p.Open(t.Context()))
	if got := p.Process(t.Context(), fake.Numbered(3)); len(got) != 1 || &got[0] != &results[0] {
		t.Errorf("the results are %v", got)
	}
	inner.Want(t, "process", "process 0 1 2")
}

// A worker that is not opened uses the processor as it is.
func TestFromSDK_notOpened(t *testing.T) {
	inner := newSDKFake()
	p := funnel.FromSDK(inner, nil)
	if got := resultsText(p.Process(t.Context(), fake.Numbered(2))); got != "0 1" {
		t.Errorf("the results are %s", got)
	}
	inner.Want(t, "", "process 0 1")
}

// Nil stays nil, so that NewWorker reports it.
func TestFromSDK_nil(t *testing.T) {
	for _, p := range []sdk.Processor{nil, (*sdkFake)(nil)} {
		if got := funnel.FromSDK(p, nil); got != nil {
			t.Errorf("it is a %T", got)
		}
	}
	j := &fake.Journal{}
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(j)), fake.Through("p", funnel.FromSDK(nil, nil)), fake.Out(j)), nil, log.Nop(), nil)
	fake.WantError(t, err, nil, fmt.Sprintf("task %q", "p"), "nil")
}
