package stream

import "github.com/netfate/netfate/internal/record"

// cause is why bytes or connections were given up.
type cause uint8

const (
	notCaptured  cause = iota // the capture has cut the packet
	waitBytes                 // Limits.Bytes
	waitSegments              // Limits.Segments
	waitTime                  // Limits.Wait
	memory                    // Limits.Memory
	neverCame                 // the connection ended before
	outOfWindow               // the sequence number belongs to no byte that can be due
	evicted                   // Limits.Conns
	causes
)

// Lost returns what is missing since the last call, by reason. The time is left
// to the caller.
func (a *Assembler) Lost() []record.Lost {
	reasons := [causes]struct{ reason, effect string }{
		notCaptured:  {"bytes cut from packets", "messages that have them are cut"},
		waitBytes:    {"missing bytes, too many waited behind them", "messages that have them are cut"},
		waitSegments: {"missing bytes, too many segments waited behind them", "messages that have them are cut"},
		waitTime:     {"missing bytes, waited for too long", "messages that have them are cut"},
		memory:       {"missing bytes, no memory to wait for them", "messages that have them are cut"},
		neverCame:    {"missing bytes", "messages that have them are cut"},
		outOfWindow:  {"segments with impossible sequence numbers", "their bytes are not read"},
		evicted:      {"connections evicted, too many are open", "what they say from then on is joined midway"},
	}
	var lost []record.Lost
	for c, n := range a.lost {
		if n > 0 {
			lost = append(lost, record.Lost{
				Place: "tcp_streams", Reason: reasons[c].reason, Count: n, Effect: reasons[c].effect,
			})
		}
	}
	a.lost = [causes]uint64{}
	return lost
}
