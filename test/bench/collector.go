package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/bench/peers"
)

// collector takes in flows that a tool exports, in the receiver's namespace.
type collector struct {
	conn *net.UDPConn
	got  bytes.Buffer
	done chan error
}

func newCollector(w *wire) (*collector, error) {
	c := &collector{conn: w.rx.ListenUDP(peers.Collector), done: make(chan error, 1)}
	if err := c.enlarge(); err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				close(c.done)
				return
			}
			if err != nil {
				c.done <- fmt.Errorf("receive flows: %w", err)
				close(c.done)
				return
			}
			c.got.Write(buf[:n])
		}
	}()
	return c, nil
}

// enlarge has room for all that comes at once when a tool ends.
func (c *collector) enlarge() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("open the collector's socket: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	})
	return errors.Join(err, failed)
}

// rest is how long reading what has come already may take.
const rest = 300 * time.Millisecond

// close returns all that has come. Who closes it once more gets an error.
func (c *collector) close() (io.Reader, error) {
	err := c.conn.SetReadDeadline(time.Now().Add(rest))
	return &c.got, errors.Join(err, <-c.done, c.conn.Close())
}
