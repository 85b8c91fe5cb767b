package top

import (
	"context"
	"errors"
	"time"
)

// order is what the user wants of a recording.
type order int

const (
	orderWhole  order = iota // all of it, as fast as it is read
	orderPlay                // as fast as it happened
	orderPause               // nothing more
	orderStep                // one more interval
	orderRewind              // from the beginning, one interval
)

// errAgain ends a reading that is to begin anew.
var errAgain = errors.New("read the recording anew")

// pace holds a recording back as the user wants. Orders come from the screen, next
// and again are called by whoever reads.
type pace struct {
	orders chan order
	mode   order // the reader's
	free   int   // intervals that may pass, the reader's
}

// ordersWaiting is how many orders may wait; more are keys held down.
const ordersWaiting = 64

func newPace() *pace { return &pace{orders: make(chan order, ordersWaiting)} }

// give hands over an order, unless too many wait.
func (p *pace) give(o order) {
	select {
	case p.orders <- o:
	default:
	}
}

// next returns when one more interval, which lasted so long, is to be shown.
func (p *pace) next(ctx context.Context, length time.Duration) error {
	for {
		select { // orders first, whatever the mode
		case o := <-p.orders:
			if err := p.obey(o); err != nil {
				return err
			}
			continue
		default:
		}
		if p.free > 0 {
			p.free--
			return nil
		}
		var due <-chan time.Time
		switch p.mode {
		case orderWhole:
			return ctx.Err()
		case orderPlay:
			due = time.After(length)
		}
		select {
		case o := <-p.orders:
			if err := p.obey(o); err != nil {
				return err
			}
		case <-due:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *pace) obey(o order) error {
	switch o {
	case orderStep:
		p.mode = orderPause
		p.free++
	case orderRewind:
		p.rewind()
		return errAgain
	default:
		p.mode, p.free = o, 0
	}
	return nil
}

func (p *pace) rewind() { p.mode, p.free = orderPause, 1 }

// again returns true when a recording that has ended is to begin anew, and false
// when the program ends.
func (p *pace) again(ctx context.Context) bool {
	for {
		select {
		case o := <-p.orders:
			if o == orderRewind {
				p.rewind()
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}
