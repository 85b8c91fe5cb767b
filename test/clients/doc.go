// Package clients has the exporters' conformance suite read by programs that others wrote
// and that are built from their sources: too large for `make test`. `make clients` builds
// and runs them.
package clients
