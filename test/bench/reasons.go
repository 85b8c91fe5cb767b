package main

import "github.com/netfate/netfate/test/bench/peers"

// jobColumn is where netfate may not be first.
type jobColumn struct {
	job    peers.Job
	column string
}

// reasonsFor returns why netfate is not first in a column of a job, if that is kept.
// A run that finds it first says so, and one that finds a reason missing, too.
func reasonsFor(job peers.Job, column string) (string, bool) {
	reason, ok := map[jobColumn]string{}[jobColumn{job, column}]
	return reason, ok
}
