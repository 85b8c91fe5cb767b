package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/capture"
)

// packets is what commands share that read packets, not counts of them.
type packets struct {
	in        *bufio.Reader // what -r names
	close     func() error
	isCapture bool

	reads       bool // -i reads an interface
	promiscuous bool

	filter *capture.Filter // of frames
}

// captureOrRecordingFlags is flags for a command that reads either.
func (w *watch) captureOrRecordingFlags(cmd *cobra.Command) {
	w.flags(cmd)
	cmd.Flags().Lookup("read").Usage = "capture (pcap, pcapng) or recording to read instead of this host; - for standard input"
}

// preparePackets is prepare for a command that reads packets: it opens what -r
// names; of a capture or an interface the expression selects frames.
func (w *watch) preparePackets(ctx context.Context, args []string) error {
	switch {
	case w.promiscuous && !w.onWire():
		return usagef("--promisc is for an interface that is read: give one with -i, without -r")
	case w.onWire():
		return w.prepareWire(ctx, args)
	case w.read != "":
		if err := w.open(); err != nil {
			return err
		}
	}
	if !w.isCapture {
		return w.prepare(ctx, args)
	}
	if err := w.prepare(ctx, nil); err != nil {
		return err
	}
	return w.selectPackets(ctx, expression(args))
}

// selectPackets has the expression select what decoders are given.
func (w *watch) selectPackets(ctx context.Context, expr string) (err error) {
	if expr != "" {
		w.filter, err = capture.NewFilter(ctx, expr)
	}
	return refusal(expr, err)
}

// open opens what -r names and looks whether it is a capture.
func (w *watch) open() error {
	file := os.Stdin
	if w.read != "-" {
		var err error
		if file, err = os.Open(w.read); err != nil {
			return err
		}
	}
	w.in, w.close = bufio.NewReader(file), file.Close
	head, _ := w.in.Peek(12) // too short a file is for either to complain about
	w.isCapture = capture.Is(head)
	return nil
}

// capture feeds the outputs with what decoders make of the capture.
func (w *watch) capture(ctx context.Context, outputs []agent.Output, decoders ...capture.Decoder) (err error) {
	defer func() { err = errors.Join(err, w.close()) }()
	return w.decode(ctx, w.in, outputs, decoders...)
}

// captureOrRecording is capture, or reads what was decoded already, by what the
// file is.
func (w *watch) captureOrRecording(ctx context.Context, outputs []agent.Output, decoders ...capture.Decoder) (err error) {
	if w.isCapture {
		return w.capture(ctx, outputs, decoders...)
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return w.replayFrom(ctx, w.in, outputs)
}

func (w *watch) decode(ctx context.Context, in io.Reader, outputs []agent.Output, decoders ...capture.Decoder) error {
	s, err := capture.Open(in, decoders...)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.read, err)
	}
	s.Select(w.filter)
	if err := agent.Replay(ctx, s, w.cfg.Select, outputs); err != nil {
		return err
	}
	if note := s.Note(); note != "" {
		fmt.Fprintln(os.Stderr, "netfate: note:", note)
	}
	return nil
}
