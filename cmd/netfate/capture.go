package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/capture"
)

// captureOrRecording feeds the outputs with what decoders make of a capture, or
// with what was decoded already, by what the file is.
func (w *watch) captureOrRecording(ctx context.Context, outputs []agent.Output, decoders ...capture.Decoder) (err error) {
	var in io.ReadCloser = os.Stdin
	if w.read != "-" {
		if in, err = os.Open(w.read); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	buffered := bufio.NewReader(in)
	if head, _ := buffered.Peek(4); capture.Is(head) { // too short a file is for either to complain about
		return w.decode(ctx, buffered, outputs, decoders...)
	}
	return w.replayFrom(ctx, buffered, outputs)
}

func (w *watch) decode(ctx context.Context, in io.Reader, outputs []agent.Output, decoders ...capture.Decoder) error {
	s, err := capture.Open(in, decoders...)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.read, err)
	}
	if err := agent.Replay(ctx, s, w.cfg.Select, outputs); err != nil {
		return err
	}
	if note := s.Note(); note != "" {
		fmt.Fprintln(os.Stderr, "netfate: note:", note)
	}
	return nil
}
