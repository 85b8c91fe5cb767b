package prometheus

import (
	"strings"

	client "github.com/prometheus/client_golang/prometheus"
)

// healthCollector collects what netfate tells of itself.
type healthCollector struct {
	*Exporter
	descs map[string]*client.Desc
	types map[string]client.ValueType
}

func newHealth(e *Exporter) *healthCollector {
	h := &healthCollector{e, map[string]*client.Desc{}, map[string]client.ValueType{}}
	for _, m := range health() {
		h.descs[m.Name], h.types[m.Name] = client.NewDesc(m.Name, m.Help, m.Labels, nil), client.GaugeValue
		if m.Type == counter {
			h.types[m.Name] = client.CounterValue
		}
	}
	return h
}

// Describe implements client.Collector.
func (h *healthCollector) Describe(out chan<- *client.Desc) {
	for _, d := range h.descs {
		out <- d
	}
}

// Collect implements client.Collector.
func (h *healthCollector) Collect(out chan<- client.Metric) {
	tell := func(name string, value float64, labels ...string) {
		for i := range labels {
			labels[i] = clean(labels[i])
		}
		out <- client.MustNewConstMetric(h.descs["netfate_"+name], h.types["netfate_"+name], value, labels...)
	}
	b := h.cfg.Build
	tell("build_info", 1, b.Version, b.Go, b.Kernel)
	for _, l := range h.losses() {
		tell("lost_total", float64(l.Count), l.Place, l.Reason)
	}
	if h.cfg.Sensors != nil {
		for _, s := range h.cfg.Sensors() {
			tell("sensor_programs", float64(s.Programs), s.Name)
			tell("sensor_memory_bytes", float64(s.Memory), s.Name)
			if s.Runs > 0 {
				tell("sensor_runs_total", float64(s.Runs), s.Name)
				tell("sensor_run_seconds_total", s.Time.Seconds(), s.Name)
			}
		}
	}
	for _, s := range h.exports() {
		tell("export_waiting_rows", float64(s.Waiting), s.Name)
		tell("export_sent_rows_total", float64(s.Sent), s.Name)
		for _, l := range s.Lost {
			tell("export_lost_rows_total", float64(l.Count), s.Name, l.Reason)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.IsZero() {
		tell("last_batch_timestamp_seconds", float64(h.last.UnixNano())/1e9)
	}
	for k, n := range h.balance {
		tell("ledger_balance_buffers", float64(n), k[0], k[1])
	}
	for _, f := range h.families {
		tell("metric_series", float64(len(f.series)), strings.ReplaceAll(f.name, " ", "_"))
	}
	for _, t := range h.times {
		tell("metric_series", float64(len(t.keys)), strings.ReplaceAll(t.name, " ", "_"))
	}
}
