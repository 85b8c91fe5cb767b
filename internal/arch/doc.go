// Package arch has no code, only tests of how the rest is built: which package
// may import which, what no package does, and that the committed BPF objects
// are those that their sources give. Nobody imports it.
//
// The rules work on parsed sources, so that they see every file, whatever its
// build tags. A rule that stands in the way is changed here, in a commit that
// argues for it, never worked around.
package arch
