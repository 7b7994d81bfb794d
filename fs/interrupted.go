package fs

import (
	"context"
	"time"
)

// interruptGrace is how long an interrupted request may still take. It keeps
// programs that catch signals from seeing EINTR where a disk never gives one,
// and ends well before a killed caller is missed.
const interruptGrace = 80 * time.Millisecond

// retryInterrupted runs f, and if a signal to the caller interrupts it, once more with
// what the caller can be kept waiting. f must be safe to run twice. A caller that
// is interrupted for good gets [context.Canceled].
func retryInterrupted[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	v, err := f(ctx)
	if err == nil || ctx.Err() == nil {
		return v, err
	}
	grace, cancel := context.WithTimeout(context.Background(), interruptGrace)
	defer cancel()
	v, err = f(grace)
	if err != nil && grace.Err() != nil {
		err = context.Canceled
	}
	return v, err
}

// retryInterruptedErr is retryInterrupted for what has nothing else to return.
func retryInterruptedErr(ctx context.Context, f func(context.Context) error) error {
	_, err := retryInterrupted(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}
