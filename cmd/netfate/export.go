package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/export/ipfix"
	"github.com/netfate/netfate/internal/export/otlp"
	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/internal/export/remotewrite"
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
	if cfg.WantsMetrics() {
		p := &cfg.Prometheus
		e.metrics = prometheus.New(prometheus.Config{Series: p.Series, Build: build(), Sensors: costs.sensors, Exports: e.status, Lost: lost})
		e.all = append(e.all, e.metrics)
		e.outputs = append(e.outputs, agent.Output{Name: "the metrics", Sink: newMetricsSink(e.metrics, p.Textfile)})
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	for _, one := range []struct {
		name string
		make func() (export.Exporter, error) // nil where it is not asked for
	}{
		{"the collector of flows", func() (export.Exporter, error) { return newIPFIX(&cfg.IPFIX) }},
		{"OpenTelemetry", func() (export.Exporter, error) { return newOTLP(&cfg.OTLP, host, e.metrics) }},
		{"remote write", func() (export.Exporter, error) { return newRemoteWrite(&cfg.RemoteWrite, host, e.metrics) }},
	} {
		x, err := one.make()
		if err != nil {
			return nil, err
		}
		if x != nil {
			e.all = append(e.all, x)
			e.outputs = append(e.outputs, agent.Output{Name: one.name, Sink: x})
		}
	}
	return e, nil
}

func newIPFIX(x *config.IPFIX) (export.Exporter, error) {
	if x.Collector == "" {
		return nil, nil
	}
	c, err := config.ParseCollector(x.Collector)
	if err != nil {
		return nil, err
	}
	return ipfix.New(ipfix.Config{
		Network: c.Network, Addr: c.Addr, Version: x.Version, Domain: x.Domain, Enterprise: x.Enterprise, Templates: x.Templates, Queue: int(x.Queue),
	}), nil
}

func newOTLP(o *config.OTLP, host string, metrics *prometheus.Exporter) (export.Exporter, error) {
	if o.Endpoint == "" {
		return nil, nil
	}
	proof, token, err := credentials("export.otlp", o.CA, o.Cert, o.Key, o.Token)
	if err != nil {
		return nil, err
	}
	to := otlp.Config{
		Endpoint: o.Endpoint, TLS: proof, Token: token, Signals: o.Signals, Every: o.Every, Queue: int(o.Queue), Host: host, Version: version(),
	}
	if metrics != nil {
		to.Gather = metrics.Gather
	}
	return otlp.New(to)
}

func newRemoteWrite(r *config.RemoteWrite, host string, metrics *prometheus.Exporter) (export.Exporter, error) {
	if r.URL == "" {
		return nil, nil
	}
	proof, token, err := credentials("export.remote_write", r.CA, r.Cert, r.Key, r.Token)
	if err != nil {
		return nil, err
	}
	return remotewrite.New(remotewrite.Config{
		URL: r.URL, TLS: proof, Token: token, Instance: host, Job: "netfate", Every: r.Every, Queue: int(r.Queue), Version: version(), Gather: metrics.Gather,
	})
}

// credentials reads the files by which a receiver is known and knows netfate.
func credentials(section, ca, cert, key, tokenFile string) (*tls.Config, string, error) {
	proof := &tls.Config{}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, "", fmt.Errorf("read %s.ca: %w", section, err)
		}
		proof.RootCAs = x509.NewCertPool()
		if !proof.RootCAs.AppendCertsFromPEM(text) {
			return nil, "", fmt.Errorf("read %s.ca: there is no certificate in %s", section, ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, "", fmt.Errorf("read %s.cert and %[1]s.key: %w", section, err)
		}
		proof.Certificates = []tls.Certificate{pair}
	}
	if tokenFile == "" {
		return proof, "", nil
	}
	text, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, "", fmt.Errorf("read %s.token_file: %w", section, err)
	}
	return proof, strings.TrimSpace(string(text)), nil
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
