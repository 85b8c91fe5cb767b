package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// pins are what a run has put on the BPF file system, in the order in which
// it was made.
type pins struct {
	dir   string
	owner string             // name of the run
	made  []string           // pins and directories
	note  func(string) error // told of each before it is made
}

// pinner is a program, a map or a link.
type pinner interface{ Pin(path string) error }

// add pins what under kind/name. Where another object of the same directory has
// that name already, ours is put before it.
func (p *pins) add(what pinner, kind, name string) (path string, err error) {
	dir := filepath.Join(p.dir, kind)
	if err := p.mkdir(dir); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name)
	if _, err := os.Lstat(path); err == nil {
		path = filepath.Join(dir, p.owner+"_"+name)
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("pin %s: something is pinned there already; stop what uses it, or choose another --pin directory", path)
	}
	if err := p.noted(path); err != nil {
		return "", err
	}
	if err := what.Pin(path); err != nil {
		return "", kernel.Diagnose(err, "pin "+path)
	}
	return path, nil
}

func (p *pins) noted(path string) error {
	p.made = append(p.made, path)
	return p.note(path)
}

// mkdir makes a directory and those above it that are missing. Only a BPF file
// system keeps pins.
func (p *pins) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return onBPFFS(dir)
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := p.mkdir(parent); err != nil {
			return err
		}
	}
	if err := p.noted(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory for pins: %w", err)
	}
	return nil
}

func onBPFFS(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("pin in %s: %w", dir, err)
	}
	if s.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	return &kernel.Refusal{
		Doing: "pin in " + dir, Cause: "that is no BPF file system",
		Remedy: "mount one with mount -t bpf bpf " + DefaultBPFFS + ", or name a directory on one with --pin", Err: kernel.ErrNotAllowed,
	}
}

// removePins takes off what was made, but for what keep says: what is in a
// directory before the directory, in whatever order it was made or inherited. A
// directory that others have put something into stays.
func removePins(made []string, keep func(path string) bool) error {
	var errs []error
	for _, path := range slices.Backward(slices.Sorted(slices.Values(made))) {
		if !keep(path) {
			errs = append(errs, removePin(path))
		}
	}
	return errors.Join(errs...)
}

// removePin removes a pin or an empty directory; that it is gone is no error.
func removePin(path string) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return fmt.Errorf("remove pin: %w", err)
}
