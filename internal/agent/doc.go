// Package agent is where everything is wired together: wire.go has the one
// literal list of what runs, pump.go the one goroutine that owns decoding,
// enriching and aggregating, queue.go the bounded way from there to each sink.
//
// The commands in cmd/netfate import it; nothing else does.
package agent
