package clickhouse

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// suffix is what the names of batches in a directory end in, and partial that of those
// that are not written whole.
const (
	suffix  = ".batch"
	partial = ".partial"
)

// ErrHeld is wrapped by the error of Open if another process has the spool's directory.
var ErrHeld = errors.New("another process has it")

// spool is batches that wait for the server, the oldest first: files of a directory, or
// memory where there is none. It is for one goroutine.
type spool struct {
	dir   string
	max   int64
	lock  *os.File
	held  []waiting
	bytes int64
	next  uint64 // the number of the next file
}

// waiting is a batch in the spool.
type waiting struct {
	name  string // of its file
	batch *batch // in memory, if there are no files
	rows  uint64
	bytes int64
}

// openSpool opens a directory, or makes it, and has what waits there. What cannot be read
// is set aside under another name, and told by say.
func openSpool(dir string, most int64, say func(string)) (_ *spool, err error) {
	s := &spool{dir: dir, max: most}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrHeld, dir), s.lock.Close())
	}
	if err := s.look(say); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// look finds what waits. Names are numbers, so that their order is that in which they came.
func (s *spool) look(say func(string)) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if strings.HasSuffix(e.Name(), partial) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		var number uint64
		if _, err := fmt.Sscanf(e.Name(), "%d"+suffix, &number); err != nil {
			continue
		}
		b, size, err := readBatch(path)
		if err != nil {
			say(fmt.Sprintf("history: a batch that waits cannot be read (%v): it is now %s", err, path+".damaged"))
			if err := os.Rename(path, path+".damaged"); err != nil {
				return err
			}
			continue
		}
		s.next = max(s.next, number+1)
		s.held = append(s.held, waiting{name: e.Name(), rows: b.Rows, bytes: size})
		s.bytes += size
	}
	return nil
}

func (s *spool) close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// rows is how many rows wait.
func (s *spool) rows() (n uint64) {
	for i := range s.held {
		n += s.held[i].rows
	}
	return n
}

// put adds a batch. Where there is no room for it the oldest go, and their rows are
// dropped; if it cannot be written, its own are.
func (s *spool) put(b *batch) (dropped uint64, err error) {
	file, err := b.file()
	if err != nil {
		return b.Rows, err
	}
	w := waiting{batch: b, rows: b.Rows, bytes: int64(len(file))}
	for len(s.held) > 0 && s.bytes+w.bytes > s.max {
		dropped += s.held[0].rows
		if err := s.drop(); err != nil {
			return dropped + b.Rows, err
		}
	}
	if s.dir != "" {
		w.name, w.batch = fmt.Sprintf("%020d%s", s.next, suffix), nil
		s.next++
		if err := writeWhole(filepath.Join(s.dir, w.name), file); err != nil {
			return dropped + b.Rows, err
		}
	}
	s.held = append(s.held, w)
	s.bytes += w.bytes
	return dropped, nil
}

// first returns the oldest batch, nil if there is none.
func (s *spool) first() (*batch, error) {
	switch {
	case len(s.held) == 0:
		return nil, nil
	case s.dir == "":
		return s.held[0].batch, nil
	}
	b, _, err := readBatch(filepath.Join(s.dir, s.held[0].name))
	return b, err
}

// drop forgets the oldest batch.
func (s *spool) drop() error {
	w := s.held[0]
	if s.dir != "" {
		if err := os.Remove(filepath.Join(s.dir, w.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	s.bytes -= w.bytes
	s.held = slices.Delete(s.held, 0, 1)
	return nil
}

// file is a batch as its file has it: a line that says what it is, and its rows.
func (b *batch) file() ([]byte, error) {
	head, err := json.Marshal(b)
	return slices.Concat(head, []byte{'\n'}, b.body), err
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(path string, text []byte) error {
	f, err := os.OpenFile(path+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(path+partial, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, ignoreGone(os.Remove(path+partial)))
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// readBatch reads a file that batch.file made.
func readBatch(path string) (b *batch, size int64, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	r := bufio.NewReader(bytes.NewReader(raw))
	head, err := r.ReadBytes('\n')
	if err != nil {
		return nil, 0, errors.New("its first line is cut")
	}
	b = &batch{}
	if err := json.Unmarshal(head, b); err != nil {
		return nil, 0, err
	}
	if b.ID == "" || b.Insert == "" || !isName(b.Table) {
		return nil, 0, errors.New("its first line does not say what it is")
	}
	if b.body, err = io.ReadAll(r); err != nil {
		return nil, 0, err
	}
	return b, int64(len(raw)), nil
}
