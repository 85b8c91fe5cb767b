// Package bpfmap is one BPF map of this host, whoever made it: found by path,
// name or id, its keys and values typed by the BTF that the map itself has, read
// in batches, changed, deleted from and watched.
//
// It neither knows which program uses a map nor whose it is (internal/inventory
// does), and writes no text but errors and notes: internal/view/programs shows
// what it reads. The loader and the commands import it.
package bpfmap
