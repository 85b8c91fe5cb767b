package remotewrite

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of the messages WriteRequest, TimeSeries, Label and Sample (prometheus/prompb,
// remote.proto and types.proto). They are few and do not change; the package that has
// them is Prometheus itself.
const (
	requestSeries = 1
	seriesLabels  = 1
	seriesSamples = 2
	labelName     = 1
	labelValue    = 2
	sampleValue   = 1
	sampleTime    = 2
)

type label struct{ name, value string }

// series returns each series with one sample, as a field of a WriteRequest: several of
// them in a row are one.
func series(families []*dto.MetricFamily, instance, job string, ms int64) (all [][]byte) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			add := func(suffix string, value float64, more ...label) {
				labels := append([]label{{"__name__", f.GetName() + suffix}, {"instance", instance}, {"job", job}}, more...)
				for _, l := range m.GetLabel() {
					labels = append(labels, label{l.GetName(), l.GetValue()})
				}
				all = append(all, encode(labels, value, ms))
			}
			h := m.GetHistogram()
			switch {
			case h != nil:
				for _, b := range h.GetBucket() {
					add("_bucket", float64(b.GetCumulativeCount()), label{"le", bound(b.GetUpperBound())})
				}
				add("_bucket", float64(h.GetSampleCount()), label{"le", "+Inf"})
				add("_sum", h.GetSampleSum())
				add("_count", float64(h.GetSampleCount()))
			case m.GetCounter() != nil:
				add("", m.GetCounter().GetValue())
			case m.GetGauge() != nil:
				add("", m.GetGauge().GetValue())
			}
		}
	}
	return all
}

func bound(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// encode writes a series: labels in the order of their names, without those that are
// empty, which are none.
func encode(labels []label, value float64, ms int64) []byte {
	slices.SortFunc(labels, func(a, b label) int { return cmp.Compare(a.name, b.name) })
	var s []byte
	for _, l := range labels {
		if l.value == "" {
			continue
		}
		s = protowire.AppendTag(s, seriesLabels, protowire.BytesType)
		one := appendText(nil, labelName, l.name)
		s = protowire.AppendBytes(s, appendText(one, labelValue, l.value))
	}
	sample := protowire.AppendTag(nil, sampleValue, protowire.Fixed64Type)
	sample = protowire.AppendFixed64(sample, math.Float64bits(value))
	sample = protowire.AppendTag(sample, sampleTime, protowire.VarintType)
	sample = protowire.AppendVarint(sample, uint64(ms))
	s = protowire.AppendTag(s, seriesSamples, protowire.BytesType)
	s = protowire.AppendBytes(s, sample)
	return protowire.AppendBytes(protowire.AppendTag(nil, requestSeries, protowire.BytesType), s)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}
