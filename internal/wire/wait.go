package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// stop lets nothing more into the ring, so that it can be read to its end.
func (w *Wire) stop() error {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{}})
	if err == nil {
		err = w.conn.SetBPF(nothing)
	}
	w.until = time.Now().Add(2 * retire)
	return err
}

// wait returns when there are frames, or after a pause; io.EOF once it was told to
// stop and the kernel has had the time to hand over its last block.
func (w *Wire) wait(ctx context.Context) error {
	now := time.Now()
	deadline := now.Add(pause)
	if !w.until.IsZero() {
		if !now.Before(w.until) {
			return io.EOF
		}
		deadline = w.until
	}
	if err := w.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if w.until.IsZero() {
		// The deadline wakes it too, but not at once.
		stop := context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(now) })
		defer stop()
	}
	err := w.raw.Read(func(uintptr) bool { return w.ring.ready() })
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		return w.gone()
	case !errors.Is(err, os.ErrClosed):
		return w.down(ctx)
	}
	return err
}

// down waits while the interface is down: the socket has an error then, and is not
// to be waited for.
func (w *Wire) down(ctx context.Context) error {
	if err := w.gone(); err != nil {
		return err
	}
	_, err := w.conn.GetsockoptInt(unix.SOL_SOCKET, unix.SO_ERROR) // which clears it
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	return err
}

// gone is an error once the interface was removed: then the kernel unbinds the
// socket.
func (w *Wire) gone() error {
	at, err := w.conn.Getsockname()
	if err != nil {
		return err
	}
	if a, ok := at.(*unix.SockaddrLinklayer); ok && a.Ifindex <= 0 {
		return fmt.Errorf("interface %s was removed", w.name)
	}
	return nil
}
