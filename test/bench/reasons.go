package main

import "github.com/netfate/netfate/test/bench/peers"

// jobColumn is where netfate may not be first.
type jobColumn struct {
	job    peers.Job
	column string
}

// reasons returns why netfate is not first in a column of a job. A run that finds it
// first says so, and one that finds a reason missing, too.
func reasons() map[jobColumn]string {
	const (
		tables   = "netfate is a program in Go that keeps tables of flows, owners and the kernel's symbols for the whole host; this one keeps nothing"
		verified = "the kernel verifies netfate's programs before they are attached, and owners of sockets that are open already are looked for first; this one opens one socket or ring"
		bothEnds = "both ends are on this host, and netfate's programs see each packet at either, of all interfaces; this one sees one end of one interface"
		oneCount = "it has one counter for each reason, and neither place, flow nor owner"
		rows     = "netfate writes a row for each flow and each end of it each second, with its owner; this one adds up a number a key and prints once, at its end"
	)
	return map[jobColumn]string{
		{peers.Drops, "added"}:      oneCount,
		{peers.Drops, "best"}:       oneCount,
		{peers.Drops, "own"}:        rows,
		{peers.Drops, "memory"}:     tables,
		{peers.Flows, "added"}:      bothEnds,
		{peers.Flows, "best"}:       bothEnds,
		{peers.Flows, "own"}:        rows,
		{peers.Flows, "start"}:      verified,
		{peers.Processes, "own"}:    rows,
		{peers.Processes, "memory"}: tables,
		{peers.Processes, "start"}:  verified,
		{peers.URLs, "added"}:       bothEnds + ", and only what a classic filter lets through",
		{peers.URLs, "best"}:        bothEnds + ", and only what a classic filter lets through",
		{peers.URLs, "memory"}:      tables,
		{peers.URLs, "start"}:       verified,
		{peers.Names, "added"}:      pairs,
		{peers.Names, "best"}:       pairs,
		{peers.Names, "own"}:        pairs,
		{peers.Names, "seen"}:       pairs + "; what finds the ring of 4 MB full is counted and told as lost, where others have 64 MB for this load",
		{peers.Names, "right"}:      "what was lost is missing in each name",
		{peers.Names, "memory"}:     tables,
		{peers.Names, "start"}:      verified,
	}
}

// pairs is why DNS costs netfate more than those who print questions.
const pairs = "netfate copies four messages of a question that is asked and answered on this host, two at each end, and pairs them for failures and latency; this one reads the question alone"
