// Package counters reads what the kernel itself counts of packets and their
// losses: by interface, queueing discipline, protocol, socket, firewall rule and
// CPU, in any number of network namespaces, as one [Sample]. [Difference] says
// what was counted between two samples.
//
// It asks through netlink, /proc and ioctl, starts no process and changes
// nothing. In particular it holds no namespace open between two samples: a
// socket kept there would keep a container's interfaces alive after the
// container.
//
// A part that cannot be read is a [Gap] with a reason, never a zero. It draws no
// conclusions: that is its importers' work, the ledger's and the agent's.
package counters
