// Package faults has the daemon go through what befalls programs: killed, stopped,
// out of memory, on full and read-only disks, without bpffs and tracefs, while namespaces,
// interfaces, cgroups and processes come and go, while clocks are stepped and CPUs
// taken away, and while packets come that nobody would send. Each time its counts have to
// be exact, nothing of it may leak, and nothing of it may stay.
//
// `make test` runs the short form. `make prove` runs the long one (-long), with a soak
// (-soak), and writes what it measured into docs/prove.md (-page). What changes the whole
// machine is tried in guests of test/vm only.
//
// It drives the program itself and knows none of its packages.
package faults
