package pcapng

import (
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Sums are how many packets there were, as buffers: in a capture each is one.
type Sums struct {
	Seen    uint64 // that were selected
	Written uint64
	Lost    uint64 // that are not written, though they should have been
}

// Drops writes the samples of batches, as a sink of the agent.
type Drops struct {
	// All writes benign ones too.
	All bool
	// Most ends it after so many packets, 0 for never.
	Most uint64
	// Read says what a drop means.
	Read func(*record.Drop) Reading
	// Stop is called once no more packets are wanted.
	Stop func()

	files  *Files
	sums   Sums
	places map[Interface]*place // without link
	losses losses
	over   bool
	at     time.Time // end of the last batch
}

// place is what an interface lost, by all counts.
type place struct {
	seen, written uint64
	is            Interface // of the first packet that was written
}

// NewDrops writes to files, which is the sink's from here on.
func NewDrops(files *Files) *Drops {
	return &Drops{files: files, places: map[Interface]*place{}, losses: losses{}}
}

// place returns the counts of a drop's interface; beyond maxInterfaces they are of
// none.
func (d *Drops) place(r *record.Drop) *place {
	i := Interface{NetNS: r.NetNS, NetNSName: r.NetNSName, Name: r.IfName}
	if d.places[i] == nil && len(d.places) >= maxInterfaces {
		i = Interface{}
	}
	if d.places[i] == nil {
		d.places[i] = &place{}
	}
	return d.places[i]
}

// Batch writes what was sampled and counts what was not.
func (d *Drops) Batch(b *record.Batch) error {
	d.at = b.End
	d.losses.add(b.Lost)
	for i := range b.Samples {
		if r := &b.Samples[i]; d.wants(r) && !d.over {
			if err := d.write(r); err != nil {
				return err
			}
		}
	}
	for i := range b.Drops {
		if r := &b.Drops[i]; d.wants(r) {
			d.sums.Seen += r.Buffers
			d.place(r).seen += r.Buffers
		}
	}
	if err := d.files.Flush(); err != nil {
		return err
	}
	if d.files.Gone() {
		d.end()
	}
	return nil
}

func (d *Drops) wants(r *record.Drop) bool { return d.All || r.Verdict != record.Benign }

func (d *Drops) write(r *record.Drop) error {
	p := OfDrop(r, d.Read(r))
	if err := d.files.Write(&p); err != nil {
		return err
	}
	d.files.Count(p.Interface, 1, 0)
	at := d.place(r)
	if at.written == 0 {
		at.is = p.Interface
	}
	at.written++
	d.sums.Written++
	if d.sums.Written == d.Most {
		d.end()
	}
	return nil
}

func (d *Drops) end() {
	if !d.over {
		d.over = true
		d.Stop()
	}
}

// Close ends the file. What was counted and never sampled is lost to it, unless no
// more were wanted.
func (d *Drops) Close() error {
	for _, at := range d.places {
		if d.over || at.seen <= at.written {
			continue
		}
		lost := at.seen - at.written
		d.sums.Lost += lost
		d.files.Count(at.is, lost, lost)
	}
	return d.files.Close(d.at)
}

// Sums returns how many there were. Call it after Close.
func (d *Drops) Sums() Sums { return d.sums }

// Losses returns what netfate lost on the way, added up. Call it after Close.
func (d *Drops) Losses() []record.Lost { return d.losses.list() }
