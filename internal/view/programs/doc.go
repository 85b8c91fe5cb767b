// Package programs shows BPF objects to people and scripts: what programs send,
// what runs on the host, what is in a map, what an object holds. It turns rows into
// tables and JSON lines on the writers that it is given, and asks no kernel.
//
// The commands import it.
package programs
