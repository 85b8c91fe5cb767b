// Package sensor tests the sensors against the running kernel: that every
// program loads, counts what was sent and leaves nothing behind. It has tests
// only; they need root and stay in network namespaces of their own.
package sensor
