// Package ipfix tells a collector of flows and drops, in IPFIX (RFC 7011) over UDP or
// TCP: flows with both directions in one record (RFC 5103), and in elements of an
// enterprise whose they are; or in NetFlow version 9 (RFC 3954), as far as that goes. There is no library to be had for it, and what is needed of
// the protocol is little.
package ipfix
