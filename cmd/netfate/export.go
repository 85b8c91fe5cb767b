package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/export/ipfix"
	"github.com/netfate/netfate/internal/export/otlp"
	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
)

// exports are the exporters of a daemon.
type exports struct {
	outputs []agent.Output
	all     []export.Exporter
	metrics *prometheus.Exporter // nil if there is none
}

// status returns how each fares.
func (e *exports) status() (all []export.Status) {
	for _, one := range e.all {
		all = append(all, one.Status())
	}
	return all
}

// newExports makes the exporters that the configuration asks for. lost returns what
// was lost since the start.
func newExports(cfg *config.Export, costs *costMeter, lost func() []record.Lost) (*exports, error) {
	e := &exports{}
	toOTel := cfg.OTLP.Endpoint != ""
	if p := &cfg.Prometheus; p.Metrics || p.Textfile != "" || toOTel && slices.Contains(cfg.OTLP.Signals, otlp.Metrics) {
		e.metrics = prometheus.New(prometheus.Config{Series: p.Series, Build: build(), Sensors: costs.sensors, Exports: e.status, Lost: lost})
		e.all = append(e.all, e.metrics)
		e.outputs = append(e.outputs, agent.Output{Name: "the metrics", Sink: newMetricsSink(e.metrics, p.Textfile)})
	}
	if x := &cfg.IPFIX; x.Collector != "" {
		c, err := config.ParseCollector(x.Collector)
		if err != nil {
			return nil, err
		}
		e.push("the collector of flows", ipfix.New(ipfix.Config{
			Network: c.Network, Addr: c.Addr, Domain: x.Domain, Enterprise: x.Enterprise, Templates: x.Templates, Queue: int(x.Queue),
		}))
	}
	if toOTel {
		one, err := newOTLP(&cfg.OTLP, e.metrics)
		if err != nil {
			return nil, err
		}
		e.push("OpenTelemetry", one)
	}
	return e, nil
}

// newOTLP makes the exporter for OpenTelemetry, which tells of the sums of metrics.
func newOTLP(o *config.OTLP, metrics *prometheus.Exporter) (*otlp.Exporter, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	to := otlp.Config{
		Endpoint: o.Endpoint, TLS: &tls.Config{}, Signals: o.Signals, Every: o.Every, Queue: int(o.Queue), Host: host, Version: version(),
	}
	if metrics != nil {
		to.Gather = metrics.Gather
	}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("read export.otlp.ca: %w", err)
		}
		to.TLS.RootCAs = x509.NewCertPool()
		if !to.TLS.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read export.otlp.ca: there is no certificate in %s", o.CA)
		}
	}
	if o.Cert != "" {
		cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("read export.otlp.cert and export.otlp.key: %w", err)
		}
		to.TLS.Certificates = []tls.Certificate{cert}
	}
	if o.Token != "" {
		text, err := os.ReadFile(o.Token)
		if err != nil {
			return nil, fmt.Errorf("read export.otlp.token_file: %w", err)
		}
		to.Token = strings.TrimSpace(string(text))
	}
	return otlp.New(to)
}

// push adds an exporter that sends.
func (e *exports) push(name string, one export.Exporter) {
	e.all = append(e.all, one)
	e.outputs = append(e.outputs, agent.Output{Name: name, Sink: one})
}

func build() prometheus.Build {
	return prometheus.Build{Version: version(), Go: runtime.Version(), Kernel: kernel.ReadFacts().Release}
}

// metricsSink adds batches up, and writes the metrics to a file after each one if
// there is one.
type metricsSink struct {
	*prometheus.Exporter
	path string
	last string // the fault that was told last
}

func newMetricsSink(e *prometheus.Exporter, path string) *metricsSink {
	return &metricsSink{Exporter: e, path: path}
}

// Batch implements agent.Sink. A file that cannot be written is told once and tried
// again after the next batch, which has all that this one had.
func (m *metricsSink) Batch(b *record.Batch) error {
	if err := m.Exporter.Batch(b); err != nil || m.path == "" {
		return err
	}
	fault := ""
	if err := m.WriteFile(m.path); err != nil {
		fault = err.Error()
	}
	if fault != m.last && fault != "" {
		say("%s", fault)
	}
	m.last = fault
	return nil
}
