// Package confine takes from a process what it does not need, for good: system calls
// by seccomp, files and the network by Landlock. Whoever gets hold of such a process by
// a fault in it has no more than what is left.
//
// The commands import it.
package confine
