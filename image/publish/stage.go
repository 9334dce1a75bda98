package publish

import (
	"context"
	"iter"

	"troy/image/internal/pipeline"
	"troy/internal/progress"
)

// inOrder is pipeline.Ordered as a stage of a work of which people see how far it has come. What
// size says of all items is the total, which is told before the first is begun.
func inOrder[T, R any](ctx context.Context, workers int, p progress.Start, what string, in iter.Seq2[T, error], size func(T) int64,
	work func(context.Context, T) (R, error), out func(R) error) error {
	var total int64
	for item, err := range in {
		if err != nil {
			return err
		}
		total += size(item)
	}
	if total == 0 {
		p = nil // nothing to see
	}
	stage := p.Begin(what, total)
	defer stage.Done()
	counted := func(ctx context.Context, item T) (R, error) {
		r, err := work(ctx, item)
		if err == nil {
			progress.Add(stage, size(item))
		}
		return r, err
	}
	return pipeline.Ordered(ctx, workers, in, counted, out)
}
