// Package otlp tells a receiver of OpenTelemetry: metrics, requests as spans, drops
// and failed connections as logs, in OTLP over HTTP or gRPC. Attributes are called as the fields of
// records say, which follow the semantic conventions.
//
// The messages are those of opentelemetry-proto. The two services are one call each
// over net/http, so that neither the SDK, which samples and batches what netfate has
// batched, nor a gRPC library is part of the program.
package otlp
