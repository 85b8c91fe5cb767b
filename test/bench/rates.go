package main

import (
	"errors"
	"fmt"
	"time"
)

// arm is what is attached while traffic runs.
type arm int

const (
	off    arm = iota
	hollow     // empty programs on the same hooks
	on         // netfate
	armsEnd
)

// rate is one workload's traffic in one round.
type rate struct {
	perSecond float64 // packets
	cpu       float64 // ns a packet, of all who deal with it
	machine   float64 // ns a packet, of the whole machine
	netfate   float64 // of cpu, netfate's own
}

// measureRates plays each workload with nothing attached, with empty programs
// and with netfate, in turns, and in another order in each round.
func measureRates(w *wire, r *results) error {
	r.rates = map[string][armsEnd][]rate{}
	for round := range r.cfg.rounds {
		for i := range int(armsEnd) {
			if err := ratesOf(w, r, arm((round+i)%int(armsEnd))); err != nil {
				return err
			}
		}
	}
	return nil
}

// ratesOf plays every workload once in one arm.
func ratesOf(w *wire, r *results, a arm) (err error) {
	var n *netfate
	switch a {
	case hollow:
		var e *empties
		if e, err = attachEmpties(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.close()) }()
	case on:
		if n, err = startNetfate(r.cfg.netfate); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.stop()) }()
		time.Sleep(settle)
	}
	for _, l := range workloads() {
		one, err := rateOf(w, r, l, n)
		if err != nil {
			return err
		}
		arms := r.rates[l.name]
		arms[a] = append(arms[a], one)
		r.rates[l.name] = arms
	}
	return nil
}

// rateOf plays one workload. What netfate does about it when its interval is
// over counts too, and does not disturb the next.
func rateOf(w *wire, r *results, l workload, n *netfate) (rate, error) {
	m, err := newMeter(n)
	if err != nil {
		return rate{}, err
	}
	begin := time.Now()
	packets, err := w.play(l, r.cfg.slice)
	wall := time.Since(begin)
	if err != nil {
		return rate{}, err
	}
	if n != nil {
		time.Sleep(interval + settle/2)
	}
	used, err := m.stop()
	if err != nil {
		return rate{}, err
	}
	if packets == 0 {
		return rate{}, fmt.Errorf("play %s: no packet was sent", l.name)
	}
	return rate{
		perSecond: float64(packets) / wall.Seconds(),
		cpu:       float64(used.part) / float64(packets),
		machine:   float64(used.machine) / float64(packets),
		netfate:   float64(used.netfate) / float64(packets),
	}, nil
}
