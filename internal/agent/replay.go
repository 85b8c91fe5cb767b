package agent

import (
	"context"
	"errors"
	"io"

	"github.com/netfate/netfate/internal/record"
)

// Source gives the batches of a recording, io.EOF after the last.
type Source interface {
	Next() (*record.Batch, error)
}

// Replay feeds the outputs from a recording, as fast as they take it, and
// closes them.
func Replay(ctx context.Context, from Source, sel Select, outputs []Output) error {
	err := replay(ctx, from, sel, outputs)
	return errors.Join(err, closeAll(outputs))
}

func replay(ctx context.Context, from Source, sel Select, outputs []Output) error {
	for ctx.Err() == nil {
		b, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b = sel.apply(b)
		for _, o := range outputs {
			if err := o.Sink.Batch(b); err != nil {
				return err
			}
		}
	}
	return nil
}
