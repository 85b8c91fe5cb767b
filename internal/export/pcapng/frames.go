package pcapng

import (
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Frames writes packets, as a sink of a capture.
type Frames struct {
	// Most ends it after so many packets, 0 for never.
	Most uint64
	// Stop is called once no more packets are wanted.
	Stop func()

	files  *Files
	sums   Sums
	links  map[Interface]Interface // without link: of its first packet
	losses losses
	over   bool
	at     time.Time // of the last packet
}

// NewFrames writes to files, which is the sink's from here on.
func NewFrames(files *Files) *Frames {
	return &Frames{files: files, links: map[Interface]Interface{}, losses: losses{}}
}

// Frames writes packets.
func (f *Frames) Frames(list []record.Frame) error {
	for i := range list {
		if f.over {
			return nil
		}
		if err := f.write(&list[i]); err != nil {
			return err
		}
	}
	if err := f.files.Flush(); err != nil {
		return err
	}
	if f.files.Gone() {
		f.end()
	}
	return nil
}

func (f *Frames) write(r *record.Frame) error {
	p := OfFrame(r)
	if err := f.files.Write(&p); err != nil {
		return err
	}
	f.at = r.Time
	if i := bare(&r.Endpoints); len(f.links) < maxInterfaces && f.links[i] == (Interface{}) {
		f.links[i] = p.Interface
	}
	f.files.Count(p.Interface, 1, 0)
	f.sums.Seen++
	f.sums.Written++
	if f.sums.Written == f.Most {
		f.end()
	}
	return nil
}

// bare is an interface whatever its packets begin with.
func bare(e *record.Endpoints) Interface {
	return Interface{NetNS: e.NetNS, NetNSName: e.NetNSName, Name: e.IfName}
}

func (f *Frames) end() {
	if !f.over {
		f.over = true
		f.Stop()
	}
}

// Missed counts packets of an interface that found no room.
func (f *Frames) Missed(e *record.Endpoints, n uint64) {
	if f.over {
		return
	}
	f.sums.Seen += n
	f.sums.Lost += n
	f.files.Count(f.links[bare(e)], n, n)
}

// Lost adds up what else netfate lost.
func (f *Frames) Lost(list []record.Lost) { f.losses.add(list) }

// Close ends the file.
func (f *Frames) Close() error { return f.files.Close(f.at) }

// Sums returns how many packets there were. Call it after Close.
func (f *Frames) Sums() Sums { return f.sums }

// Losses returns what netfate lost on the way, added up. Call it after Close.
func (f *Frames) Losses() []record.Lost { return f.losses.list() }

// OfFrame makes a packet of a frame, and says of it what netfate knows.
func OfFrame(r *record.Frame) Packet {
	p := Packet{
		At: r.Time, Bytes: r.Packet, Length: r.Length, Direction: r.Direction,
		Interface: interfaceOf(&r.Endpoints, r.Link), Comments: []string{seenAt(&r.Endpoints, r.Direction)},
	}
	if r.Known() {
		p.Comments = append(p.Comments, ownerOf(&r.Owner))
	}
	if r.Segments > 1 {
		p.Comments = append(p.Comments, line("one buffer of %d packets", r.Segments))
	}
	return p
}
