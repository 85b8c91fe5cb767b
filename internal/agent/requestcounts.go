package agent

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/sensor/urls"
)

// requestCounts reads how often the kernel has counted what is asked for. It
// belongs to the pump.
type requestCounts struct {
	sensor *urls.Sensor
	sums   map[url]uint64
}

// url is what was asked for, its path as [http.Template] gives it; other is the
// remainder, of which only the method is known.
type url struct {
	method, host, path string
	other              bool
}

func urlOf(k *decode.URLKey) url {
	return url{method: text(k.Method[:]), host: text(k.Host[:]), path: http.Template(text(k.Path[:])), other: k.Other != 0}
}

// text returns b up to its first NUL.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// read takes in what was counted since the last call.
func (c *requestCounts) read() error {
	return c.sensor.Poll(func(k *decode.URLKey, n *decode.URLCount) { c.add(k, n.Requests) })
}

func (c *requestCounts) add(k *decode.URLKey, n uint64) {
	if c.sums == nil {
		c.sums = map[url]uint64{}
	}
	c.sums[urlOf(k)] += n
}

// roll adds what was counted to b, the most first, and begins anew.
func (c *requestCounts) roll(b *record.Batch, host string) {
	for u, n := range c.sums {
		b.RequestCounts = append(b.RequestCounts, record.RequestSum{
			Time: b.End, Start: b.Start, Host: host, Method: u.method, HostName: u.host, Path: u.path, Requests: n, Other: u.other,
		})
	}
	slices.SortFunc(b.RequestCounts, func(x, y record.RequestSum) int {
		return cmp.Or(cmp.Compare(y.Requests, x.Requests), cmp.Compare(x.Path, y.Path), cmp.Compare(x.HostName, y.HostName), cmp.Compare(x.Method, y.Method))
	})
	c.sums = nil
}

// errSelected and errBoth are configurations that contradict themselves.
var (
	errSelected = errors.New("requests that the kernel counts belong to no interface, namespace or process: they cannot be selected")
	errBoth     = errors.New("requests are either read or counted, not both")
)

// check refuses a configuration that contradicts itself.
func (cfg *Config) check() error {
	switch {
	case cfg.CountRequests && cfg.Requests:
		return errBoth
	case cfg.CountRequests && cfg.Select.Any():
		return errSelected
	}
	return nil
}

// owned reports whether anything is watched that has an owner.
func (cfg *Config) owned() bool {
	return cfg.Drops || cfg.Flows || cfg.Conns || cfg.Queries || cfg.Requests
}
