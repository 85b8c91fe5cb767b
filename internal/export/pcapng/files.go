package pcapng

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoRoom says that the disk is full. The file is whole up to there.
var ErrNoRoom = errors.New("no room on the disk")

// Ring is how many files there may be, and how long each. The zero value is one file
// of any length.
type Ring struct {
	Files int
	Bytes int64
}

// Target is where packets go.
type Target struct {
	Path  string   // of the file; of a ring, its names begin with that
	Pipe  *os.File // in place of a file
	Ring  Ring
	About About
}

// Files is the file, or the ring of them, that packets go to. It is for one
// goroutine.
type Files struct {
	target Target
	file   *os.File
	writer *Writer
	begun  time.Time // the file
	made   []made    // of a ring, the oldest first; the last is open
	number int
	total  map[Interface]Count
	before map[Interface]Count // total when the file began
	gone   bool                // nobody reads the pipe
}

// made is a file of a ring, as it was when it was finished.
type made struct {
	path string
	is   os.FileInfo
}

// OpenFiles opens the first file and writes its head.
func OpenFiles(t Target, now time.Time) (*Files, error) {
	f := &Files{target: t, total: map[Interface]Count{}}
	if err := f.open(now); err != nil {
		return nil, err
	}
	return f, nil
}

// open begins a file.
func (f *Files) open(now time.Time) (err error) {
	f.number++
	switch {
	case f.target.Pipe != nil:
		f.file = f.target.Pipe
	case f.target.Ring.Files == 0:
		f.file, err = os.Create(f.target.Path)
	default:
		f.file, err = f.next(now)
	}
	if err != nil {
		return err
	}
	f.begun, f.before = now, maps.Clone(f.total)
	f.writer, err = NewWriter(f.file, f.target.About)
	return f.judge(err)
}

// next makes the next file of a ring, which is never one that was there, and takes
// away the oldest of those that this ring has made.
func (f *Files) next(now time.Time) (*os.File, error) {
	for len(f.made) >= f.target.Ring.Files {
		if err := f.made[0].remove(); err != nil {
			return nil, err
		}
		f.made = f.made[1:]
	}
	ext := filepath.Ext(f.target.Path)
	path := fmt.Sprintf("%s_%05d_%s%s", strings.TrimSuffix(f.target.Path, ext), f.number, now.UTC().Format("20060102T150405Z"), ext)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	f.made = append(f.made, made{path: path})
	return file, nil
}

// remove takes a file away, unless it is gone, or another one has its name: which may
// have its inode too.
func (m *made) remove() error {
	is, err := os.Lstat(m.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !os.SameFile(is, m.is), is.Size() != m.is.Size(), !is.ModTime().Equal(m.is.ModTime()):
		return nil
	}
	return os.Remove(m.path)
}

// Write writes a packet. In a ring the next file begins where this one would be too
// long.
func (f *Files) Write(p *Packet) error {
	if f.gone {
		return nil
	}
	if most := f.target.Ring.Bytes; most > 0 && f.writer.packets > 0 && f.writer.Size()+p.size() > most {
		if err := f.turn(p.At); err != nil {
			return err
		}
	}
	return f.judge(f.writer.Write(p))
}

// turn ends this file and begins the next.
func (f *Files) turn(now time.Time) error {
	if err := f.finish(now); err != nil {
		return err
	}
	return f.open(now)
}

// Count notes that so many packets of an interface were there, of which some are
// not written.
func (f *Files) Count(i Interface, seen, lost uint64) {
	n := f.total[i]
	if _, ok := f.total[i]; !ok && len(f.total) >= maxInterfaces {
		i = Interface{}
		n = f.total[i]
	}
	f.total[i] = Count{n.Seen + seen, n.Lost + lost}
}

// Flush writes what waits.
func (f *Files) Flush() error {
	if f.gone {
		return nil
	}
	if f.target.Pipe != nil && unread(f.target.Pipe) {
		f.gone = true
		return nil
	}
	return f.judge(f.writer.Flush())
}

// unread reports whether nobody will ever read what goes into a pipe.
func unread(pipe *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(pipe.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// Gone reports whether whoever read the pipe has ended: nothing is written any more.
func (f *Files) Gone() bool { return f.gone }

// judge makes of an error what it means: a pipe that nobody reads is no error, and
// what a full disk has cut is taken off.
func (f *Files) judge(err error) error {
	switch {
	case errors.Is(err, unix.EPIPE):
		f.gone = true
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		f.gone = true
		if f.target.Pipe != nil {
			return fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		whole := f.writer.out.n
		return errors.Join(fmt.Errorf("%w for more than %d bytes of %s; they are whole", ErrNoRoom, whole, f.file.Name()), f.file.Truncate(whole))
	}
	return err
}

// finish ends a file with its statistics.
func (f *Files) finish(now time.Time) error {
	if f.gone {
		return f.close()
	}
	counts := map[Interface]Count{}
	for i, n := range f.total {
		had := f.before[i]
		counts[i] = Count{n.Seen - had.Seen, n.Lost - had.Lost}
	}
	return errors.Join(f.judge(f.writer.Finish(f.begun, now, counts)), f.close())
}

func (f *Files) close() error {
	if f.target.Pipe != nil {
		return nil
	}
	var err error
	if n := len(f.made); n > 0 {
		f.made[n-1].is, err = f.file.Stat()
	}
	return errors.Join(err, f.file.Close())
}

// Close ends the last file, at a time of its packets.
func (f *Files) Close(at time.Time) error {
	if at.Before(f.begun) {
		at = f.begun
	}
	return f.finish(at)
}
