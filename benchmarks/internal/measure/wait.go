package measure

import (
	"context"
	"time"
)

// Job is a pipeline that runs to its end and is prepared anew for each run.
type Job struct {
	Records int
	Prepare func() (run func(context.Context) error, err error)
}

// CompareJobs measures two jobs that spend their time waiting, in turn, for this many
// rounds each. It does not measure allocations.
func CompareJobs(ctx context.Context, base, subject Job, rounds int) (Comparison, error) {
	var times [2][]float64
	var ratios, more []float64
	for range rounds {
		var ns [2]float64
		for side, job := range []Job{base, subject} {
			run, err := job.Prepare()
			if err != nil {
				return Comparison{}, err
			}
			begin := time.Now()
			if err := run(ctx); err != nil {
				return Comparison{}, err
			}
			ns[side] = float64(time.Since(begin)) / float64(job.Records)
			times[side] = append(times[side], ns[side])
		}
		ratios = append(ratios, ns[1]/ns[0])
		more = append(more, ns[1]-ns[0])
	}
	return Comparison{
		Base:    Cost{NS: median(times[0])},
		Subject: Cost{NS: median(times[1])},
		Ratio:   median(ratios),
		More:    median(more),
	}, nil
}
