// Package remotewrite pushes metrics to a server that nobody lets scrape this host:
// Prometheus's remote write 1.0, which Prometheus, Mimir, Cortex, Thanos and VictoriaMetrics
// take. The sums are those that a scrape would read.
package remotewrite
