package agent

import (
	"errors"
	"testing"

	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
	"github.com/netfate/netfate/internal/table"
)

// TestPartly has each sensor fail, alone and with others.
func TestPartly(t *testing.T) {
	fault := errors.New("no room")
	both := func(partial bool) *live {
		l := &live{cfg: Config{Drops: true, Flows: true, Partial: partial}, drops: &drop.Sensor{}, flows: &flow.Sensor{}, flowTable: table.NewFlows(1)}
		l.books.reader = counters.New()
		return l
	}
	if l := both(false); !errors.Is(joined(l.partly(fault, nil, nil)), fault) {
		t.Error("unless that is wanted, a fault is one")
	}
	if l := both(true); !errors.Is(joined(l.partly(fault, fault, nil)), fault) {
		t.Error("when nothing works, it is a fault")
	}
	l := both(true)
	if err := joined(l.partly(fault, nil, nil)); err != nil || l.drops != nil || l.flows == nil || l.books.reader == nil || len(l.missing) != 1 {
		t.Errorf("without drops: got %v, missing %q", err, l.missing)
	}
	l = both(true)
	if err := joined(l.partly(nil, fault, nil)); err != nil || l.drops == nil || l.flows != nil || l.flowTable != nil || l.books.reader != nil || len(l.missing) != 2 {
		t.Errorf("without flows: got %v, missing %q", err, l.missing)
	}
}

func joined(drops, flows, conns error) error { return errors.Join(drops, flows, conns) }
