// Package prometheus adds batches up to metrics: counters and histograms that begin
// when it does and never go back, read over HTTP as OpenMetrics, text or protobuf,
// or written to a file for node_exporter.
//
// Each metric has a bounded number of series, the first ones that come; all others are
// counted as one, of which every label that could have many values is [Other]. So the sum over
// all labels is exact. A series that is there stays, since a counter that goes would
// look like one that fell.
package prometheus
