package bpfmap

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// Info is what the kernel tells of a map.
type Info struct {
	ID         uint32
	Type       string // as bpftool calls it: hash, percpu_array
	Name       string // cut by the kernel at 15 bytes; may be empty
	KeySize    uint32 // in bytes
	ValueSize  uint32 // in bytes, for each CPU
	MaxEntries uint32 // what that means depends on the type
	Flags      uint32 // BPF_F_… it was made with
	Memory     uint64 // bytes, as the kernel estimates them; 0 if it does not
	Frozen     bool   // user space cannot change it any more
	Pins       []string
}

// UsageError is a request that cannot be meant: a key of another type, a name
// that several maps have, something that maps of a type cannot do.
type UsageError struct{ Text string }

// Error returns the sentence for the user.
func (e *UsageError) Error() string { return e.Text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// ErrNotFound is wrapped where there is no such map, or no such key in one.
var ErrNotFound = errors.New("not found")

// maxName is where the kernel cuts names (BPF_OBJ_NAME_LEN less the NUL).
const maxName = 15

// List returns all maps of the host by id, with their pins in all BPF file
// systems that are mounted here. Maps that go away meanwhile are left out.
func List() ([]Info, error) {
	pins := findPins()
	var all []Info
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, kernel.Diagnose(err, "list maps")
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, kernel.Diagnose(err, fmt.Sprintf("open map %d", id))
		}
		info, err := infoOf(m)
		_ = m.Close()
		if err != nil {
			return nil, err
		}
		info.Pins = pins[info.ID]
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

func infoOf(m *ebpf.Map) (Info, error) {
	i, err := m.Info()
	if err != nil {
		return Info{}, fmt.Errorf("read info of map: %w", err)
	}
	id, _ := i.ID()
	memory, _ := i.Memlock()
	return Info{
		ID: uint32(id), Type: kindOf(i.Type).name, Name: i.Name, KeySize: i.KeySize, ValueSize: i.ValueSize,
		MaxEntries: i.MaxEntries, Flags: i.Flags, Memory: memory, Frozen: i.Frozen(),
	}, nil
}

// findPins returns the paths of all pinned maps by id. Directories that cannot
// be read are left out: pins are an extra.
func findPins() map[uint32][]string {
	pins := map[uint32][]string{}
	for _, root := range bpfMounts() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if d != nil && d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if !d.Type().IsRegular() {
				return nil
			}
			// Read-only, so that pins of links and programs are refused too.
			m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
			if err != nil {
				return nil // a pin of something else
			}
			defer m.Close()
			info, err := m.Info()
			if err != nil {
				return nil // it has no id to list it by
			}
			id, _ := info.ID()
			if at := pins[uint32(id)]; !slices.Contains(at, path) {
				pins[uint32(id)] = append(at, path)
			}
			return nil
		})
	}
	return pins
}

// bpfMounts returns where BPF file systems are mounted.
func bpfMounts() []string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []string{"/sys/fs/bpf"}
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var at []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "bpf" {
			at = append(at, unescape.Replace(f[1]))
		}
	}
	return at
}

// find opens what the user named: a path, an id, or a name of a map or pin.
func find(what string) (*ebpf.Map, []string, error) {
	if strings.Contains(what, "/") {
		m, err := openPin(what)
		return m, []string{what}, err
	}
	if id, err := strconv.ParseUint(what, 10, 32); err == nil {
		m, err := openID(uint32(id))
		return m, nil, err
	}
	all, err := List()
	if err != nil {
		return nil, nil, err
	}
	found := named(all, what)
	switch {
	case what == "" || len(found) == 0:
		return nil, nil, fmt.Errorf("map %q: %w: no map and no pin has that name; netfate map ls lists them", what, ErrNotFound)
	case len(found) > 1:
		return nil, nil, usagef("map %q is ambiguous: %s; name one by id or path", what, describe(found))
	}
	m, err := openID(found[0].ID)
	return m, found[0].Pins, err
}

// named returns the maps that have a name, or a pin of that name. Of a name that
// is longer than the kernel keeps, a pin says more than the cut name.
func named(all []Info, name string) []Info {
	var byName, byPin []Info
	for _, m := range all {
		pinned := slices.ContainsFunc(m.Pins, func(p string) bool { return filepath.Base(p) == name })
		if pinned {
			byPin = append(byPin, m)
		}
		if pinned || m.Name == name[:min(len(name), maxName)] {
			byName = append(byName, m)
		}
	}
	if len(name) > maxName && len(byPin) > 0 {
		return byPin
	}
	return byName
}

func describe(maps []Info) string {
	const most = 10
	var texts []string
	for i, m := range maps {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(maps)-most))
			break
		}
		where := "not pinned"
		if len(m.Pins) > 0 {
			where = strings.Join(m.Pins, " ")
		}
		texts = append(texts, fmt.Sprintf("id %d (%s, %s)", m.ID, m.Type, where))
	}
	return strings.Join(texts, ", ")
}

func openID(id uint32) (*ebpf.Map, error) {
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("map %d: %w: no map has that id; netfate map ls lists them", id, ErrNotFound)
	}
	return m, kernel.Diagnose(err, fmt.Sprintf("open map %d", id))
}

func openPin(path string) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, os.ErrPermission) { // the pin may allow reading alone
		if m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true}); err == nil {
			return m, nil
		}
	}
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("map %s: %w: nothing is pinned there; netfate map ls lists pins", path, ErrNotFound)
	case !onBPFFS(path): // the kernel says EACCES
		return nil, usagef("%s is not a pinned map: it is not on a BPF file system", path)
	case isDir(path): // EACCES again
		return nil, usagef("%s is a directory: name a map that is pinned in it", path)
	case errors.Is(err, os.ErrPermission):
		return nil, kernel.Diagnose(err, "open map "+path)
	}
	return nil, usagef("%s is not a pinned map: %v", path, err)
}

func onBPFFS(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
