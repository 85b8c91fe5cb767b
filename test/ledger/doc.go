// Package ledger holds what the kernel counts against what was sent: real
// packets in namespaces of the tests' own, losses of each kind, and the
// difference between two samples, to the packet.
package ledger
