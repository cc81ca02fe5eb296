package system_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// The log of a run, at every level.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := log.New(zerolog.New(zerolog.ConsoleWriter{
			Out: &out, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName},
		}))
		j := &fake.Journal{}
		d := fake.NewDestination(j, "d")
		first := fake.Chain(
			fake.Node(funnel.NewSourceTask("s", fake.SourceOf(j, "1 2"), logger, nil)),
			fake.Node(funnel.NewProcessorTask("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Fail)}), logger, nil)),
			fake.Node(funnel.NewDestinationTask("d", d, logger, nil)),
		)
		stuck := fake.Through("stuck", fake.ByPosition(fake.Answers{"1": fake.SecondTime(fake.Pass)}))
		first.Next[0].Next, stuck.Next = []*funnel.TaskNode{stuck}, first.Next[0].Next
		dlq := funnel.NewDLQ("q", fake.NewDestination(j, "q"), logger, nil, 0, 0)
		w, err := funnel.NewWorker(first, dlq, logger, nil)
		if err != nil {
			t.Fatal(err)
		}
		fake.WantNoError(t, fake.RunWorker(t, w))
		want := strings.TrimSpace(`
DBG opening source component=task:source connector_id=s
DBG source open component=task:source connector_id=s
DBG opening processor component=task:processor processor_id=p
DBG processor open component=task:processor processor_id=p
DBG opening destination component=task:destination connector_id=d
DBG destination open component=task:destination connector_id=d
DBG opening destination component=task:destination connector_id=q
DBG destination open component=task:destination connector_id=q
WRN the task gave no answer, trying again component=worker record_position=1 records=1 rounds=1 task_id=stuck
WRN records were written to the dead-letter queue error="test error of 2" component=dlq connector_id=q record_position=2 records=1 task_id=p`)
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("log:\n%s\nwant:\n%s", got, want)
		}
	})
}
