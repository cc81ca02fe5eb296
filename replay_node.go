package funnel

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/conduitio/funnel/log"
)

// NewReplayNode returns the first node of a pipeline that replays dead letters from the task
// that nacked their records. The first node is a source task with the ID id, which reads
// letters. The node of the task taskID, in the pipeline that starts at first, follows it.
//
// Such a replay is right only if each letter holds the record as that task was given it, and
// if the record took no other path. So NewReplayNode returns an error, which names the task,
// if
//   - no task has that ID, or it is the first task, whose letters [NewReplaySource] replays;
//   - the ID is not valid UTF-8, since dead letters then do not hold it as it is;
//   - the path forks before the task or right after it, or the task or one before it is a
//     route or best effort, since a replay would leave branches out;
//   - the task belongs to a [Sink], where a worker cannot begin (a sink after it is fine);
//   - first is not the first node of a valid pipeline, see [NewWorker].
//
// The source of letters must not restore them, so a replay source will not do. To read the
// file of a queue, use a Source of the module connector/file with the format Records and the
// option WithoutWriters.
//
// The source refuses letters of other tasks, and letters that hold another version than
// [VersionAsGiven], with the error that NewReplaySource describes. So it refuses letters of
// pieces, letters written with [WithDeadLettersAsRead], and letters that do not say what they
// hold. If the task changed a record before it nacked it, the letter holds the changed record,
// and the task is given that one.
//
// The node of the task and the nodes after it are used themselves, not copied. So the
// pipeline of first must not run at the same time, unless its tasks allow that. It is best to
// build a pipeline for the replay: first may be the FirstTask of a worker that never runs.
// Like every pipeline with a dead-letter queue, the replay needs a queue of its own.
func NewReplayNode(
	id string,
	letters Source,
	logger log.CtxLogger,
	metrics ConnectorMetrics,
	first *TaskNode,
	taskID string,
) (*TaskNode, error) {
	switch {
	case isNil(letters):
		return nil, fmt.Errorf("cannot replay from task %q: the source of dead letters is nil", taskID)
	case first == nil:
		return nil, fmt.Errorf("cannot replay from task %q: the first task node is nil", taskID)
	}
	ids, _, err := first.validate()
	if err != nil {
		return nil, fmt.Errorf("cannot replay from task %q: invalid pipeline: %w", taskID, err)
	}
	node, err := first.replayFrom(ids, taskID)
	if err != nil {
		return nil, fmt.Errorf("cannot replay from task %q: %w", taskID, err)
	}
	source := &replaySource{Source: letters, versions: []DeadLetterVersion{VersionAsGiven}, isOfTask: true, taskID: taskID}
	return &TaskNode{Task: NewSourceTask(id, source, logger, metrics), Next: []*TaskNode{node}}, nil
}

// replayFrom returns the node of a task, or an error if a replay from it would be wrong.
func (n *TaskNode) replayFrom(ids map[*TaskNode]string, taskID string) (*TaskNode, error) {
	var node *TaskNode
	for candidate, id := range ids {
		if id == taskID {
			node = candidate
		}
	}
	switch {
	case node == nil:
		return nil, errors.New("the pipeline has no such task")
	case !n.IsFirst():
		return nil, fmt.Errorf("the first task %q is no source task: it has no method GetSource", ids[n])
	case node == n:
		return nil, errors.New("it is the source task, so replay from the start of the pipeline")
	case node.sink != nil:
		return nil, errors.New("it belongs to a sink, where a worker cannot begin")
	case node.BestEffort:
		return nil, errors.New("it is best effort, so there are no dead letters of it")
	case !utf8.ValidString(taskID):
		return nil, errors.New("its ID is not valid UTF-8, so dead letters do not name it as it is")
	}
	for at := n; ; at = at.Next[0] {
		if _, ok := at.Task.(routed); ok {
			return nil, fmt.Errorf("task %q is a route, so the record may belong on another branch", ids[at])
		}
		if len(at.Next) > 1 {
			return nil, fmt.Errorf("the path forks after task %q, so a replay would leave branches out", ids[at])
		}
		if at == node {
			return node, nil
		}
	}
}
