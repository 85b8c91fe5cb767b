// Package kernel holds what netfate knows of the running kernel: the
// signatures of its tracepoints, the names of its drop reasons and symbols,
// its clocks, how it was configured, and which features of BPF work here. It
// also turns an error of the bpf system call into a sentence that says what
// is missing and what to do about it.
//
// Features are probed by using them, never by comparing versions:
// distributions backport, and vendors leave things out. Nothing that a probe
// loads or attaches outlives it.
//
// The package watches no traffic and knows no output device. With the sensors
// and the loader it is the only one that imports cilium/ebpf. Sensors, views
// and the agent import it.
package kernel
