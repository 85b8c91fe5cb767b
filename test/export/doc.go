// Package export holds exporters against clients that others wrote: Prometheus and its
// tools, collectors of flows. `make bin/web` unpacks them.
package export
