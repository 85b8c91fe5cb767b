// Package netlab builds small networks out of network namespaces, for tests
// and demonstrations: named namespaces, veth pairs, bridges, taps whose far
// end is the program itself, crafted packets, and programs run inside.
//
// A [Lab] owns what it makes and takes it away when its [TB] cleans up; what a
// killed run left behind goes when the next lab starts. Nothing of a lab
// touches the host's own interfaces, and no packet leaves its namespaces.
//
// Entering a namespace means setns on a locked thread, never `ip netns exec`:
// the mount namespace stays, and with it tracefs, bpffs and cgroupfs.
//
// It knows nothing of netfate; only tests and the demo import it. All of it
// needs root.
package netlab
