// Package ledger keeps the books of the host's packets: what came to each layer
// of the kernel in one interval, and where it went from there, reconciled from
// the kernel's own counters and the sensors. What nothing explains is a line of
// its own, positive or negative.
//
// docs/ledger.md has the equations: which counter each term is, in which unit,
// and which losses the drop sensor and a counter both see. The package is pure
// but for its importers' reading; it attaches and reads nothing.
package ledger
