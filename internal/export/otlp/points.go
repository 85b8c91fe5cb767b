package otlp

import (
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/netfate/netfate/internal/record"
)

// points makes metrics of sums since began, each of one point, so that they can be cut
// into messages anywhere. What is not netfate's is left out.
func points(families []*dto.MetricFamily, began, now time.Time) (all []*metricspb.Metric) {
	names := labelNames()
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), "netfate_")
		if !ok {
			continue
		}
		name, unit := unitOf(name)
		for _, m := range f.GetMetric() {
			one := &metricspb.Metric{Name: "netfate." + name, Unit: unit, Description: f.GetHelp()}
			point := &metricspb.NumberDataPoint{Attributes: labels(m, names), TimeUnixNano: nanos(now)}
			switch {
			case m.GetHistogram() != nil:
				one.Data = &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
					AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
					DataPoints:             []*metricspb.ExponentialHistogramDataPoint{exponential(m, point.Attributes, began, now)},
				}}
			case m.GetCounter() != nil:
				point.StartTimeUnixNano = nanos(began)
				point.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: m.GetCounter().GetValue()}
				one.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
					IsMonotonic: true, AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
					DataPoints: []*metricspb.NumberDataPoint{point},
				}}
			default:
				point.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: m.GetGauge().GetValue()}
				one.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: []*metricspb.NumberDataPoint{point}}}
			}
			all = append(all, one)
		}
	}
	return all
}

// unitOf takes the unit off a name of Prometheus, and gives it as OpenTelemetry has it
// (UCUM): by its own rules a name has no unit.
func unitOf(name string) (rest, unit string) {
	name = strings.TrimSuffix(name, "_total")
	for _, u := range []struct{ suffix, unit string }{
		{"_bytes", "By"}, {"_seconds", "s"}, {"_packets", "{packet}"}, {"_buffers", "{buffer}"}, {"_rows", "{row}"},
	} {
		if strings.HasSuffix(name, u.suffix) {
			if u.unit == "By" || u.unit == "s" {
				name = strings.TrimSuffix(name, u.suffix)
				if u.unit == "By" { // beside packets of the same things
					name += ".size"
				}
			}
			return strings.ReplaceAll(name, "_", "."), u.unit
		}
	}
	return strings.ReplaceAll(name, "_", "."), "1"
}

// labelNames returns what the semantic conventions call the labels.
func labelNames() map[string]string {
	names := map[string]string{}
	for _, rec := range []any{record.Drop{}, record.Conn{}, record.Query{}, record.Request{}} {
		for _, f := range record.Fields(rec) {
			if f.OTel != "" {
				names[f.Name] = f.OTel
			}
		}
	}
	return names
}

func labels(m *dto.Metric, names map[string]string) (all []*commonpb.KeyValue) {
	for _, l := range m.GetLabel() {
		if l.GetValue() == "" {
			continue // not known
		}
		name := names[l.GetName()]
		if name == "" {
			name = "netfate." + l.GetName()
		}
		all = append(all, text(name, l.GetValue()))
	}
	return all
}

// exponential makes a point of a native histogram. Both have powers of the same base;
// what Prometheus counts up to a bound, OpenTelemetry counts from it, one index below.
func exponential(m *dto.Metric, attributes []*commonpb.KeyValue, began, now time.Time) *metricspb.ExponentialHistogramDataPoint {
	h := m.GetHistogram()
	sum := h.GetSampleSum()
	p := &metricspb.ExponentialHistogramDataPoint{
		Attributes: attributes, StartTimeUnixNano: nanos(began), TimeUnixNano: nanos(now), Count: h.GetSampleCount(), Sum: &sum,
		Scale: h.GetSchema(), ZeroCount: h.GetZeroCount(), ZeroThreshold: h.GetZeroThreshold(),
		Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{},
	}
	var count int64
	next := 0
	for i, span := range h.GetPositiveSpan() {
		if i == 0 {
			p.Positive.Offset = span.GetOffset() - 1
		} else {
			p.Positive.BucketCounts = append(p.Positive.BucketCounts, make([]uint64, span.GetOffset())...)
		}
		for range span.GetLength() {
			count += h.GetPositiveDelta()[next]
			next++
			p.Positive.BucketCounts = append(p.Positive.BucketCounts, uint64(count))
		}
	}
	return p
}
