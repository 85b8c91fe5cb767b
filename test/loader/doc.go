// Package loader tests `netfate run` with objects as users write them: those of
// bpf/examples, and in testdata one small object for each kind of program, map
// and habit. They are compiled by the tests, so none is committed.
//
// It has tests only; what loads or attaches needs root and stays in network
// namespaces of its own.
package loader
