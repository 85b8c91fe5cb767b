package evidence

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/ethtool"
)

// ringFacts tells the length of the NIC's rings, now and at most.
func ringFacts(c *collector) ([]Fact, error) {
	if c.IfName == "" || len(c.IfName) >= unix.IFNAMSIZ {
		return nil, errNoInterface
	}
	socket, err := ethtool.Open()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	r, err := ethtool.ReadRings(socket.Ask, c.IfName)
	if errors.Is(err, ethtool.ErrNone) {
		return []Fact{{Name: "ring of " + c.IfName, Value: "none", Note: "a virtual device, or a driver without this setting"}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ring of %s: %w", c.IfName, err)
	}
	return []Fact{
		ringFact(c.IfName, "receive", "rx", r.Rx, r.RxMax),
		ringFact(c.IfName, "send", "tx", r.Tx, r.TxMax),
	}, nil
}

func ringFact(ifname, way, option string, now, limit uint32) Fact {
	f := Fact{Name: way + " ring of " + ifname, Value: fmt.Sprintf("%d of at most %d", now, limit)}
	if now < limit {
		f.Note = fmt.Sprintf("can grow: ethtool -G %s %s %d", ifname, option, limit)
	}
	return f
}
