package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
)

const (
	kallsymsPath = "/proc/kallsyms"
	// maxSymbolName is KSYM_NAME_LEN since 6.1; longer names are cut there.
	maxSymbolName = 512
	// chunkSize is how much room for names is made at a time, and maxChunks
	// bounds it to 64 MB. A kernel with every driver built in has some 10 MB.
	chunkSize = 64 << 10
	maxChunks = 1024
	// maxTailOffset is how far behind a module's last symbol an address still
	// counts as inside it: sizes are unknown, and another module may have been
	// loaded behind since. The largest functions have some 30 kB.
	maxTailOffset = 64 << 10
)

// Symbols maps addresses of kernel code to names: of the kernel, its modules
// and the BPF programs that were loaded when it was read. It is immutable once
// loaded, and its methods may be called concurrently. A nil *Symbols knows none.
//
// It takes about 30 bytes a symbol: 8 and the name. Lines of /proc/kallsyms
// that name data are left out, and so are all but the first name of an
// address, as in the kernel's own traces.
type Symbols struct {
	// Addresses are kept as their lower halves, in one run for each upper half.
	runs  []symbolRun
	low   []uint32
	name  []uint32 // offset in names, where a NUL ends it
	names symbolNames
	// owners says from which symbol on another module's begin.
	owners  []symbolOwner
	skipped uint64
	err     error
	loaded  chan struct{} // closed once the rest is there; nil if it is from the start
}

type symbolRun struct {
	high  uint32
	first int
}

type symbolOwner struct {
	first  int
	module string // empty for the kernel itself
}

// LoadSymbols starts to read /proc/kallsyms and returns at once: reading takes
// 0.1 to 0.6 s, time in which the caller can load its programs. The other
// methods wait for it. Whoever calls LoadSymbols calls [Symbols.Wait] before
// the program ends.
func LoadSymbols() *Symbols {
	s := &Symbols{loaded: make(chan struct{})}
	go func() {
		defer close(s.loaded)
		f, err := os.Open(kallsymsPath)
		if err != nil {
			s.err = symbolsHidden(err, readSysctls())
			return
		}
		defer f.Close()
		if err := s.read(f); err != nil {
			s.err = symbolsHidden(err, readSysctls())
		}
	}()
	return s
}

// ReadSymbols reads symbols from r, which is in the format of /proc/kallsyms:
// address, type, name and, for modules, the module in brackets. Lines that are
// not are skipped and counted. It returns an error if r fails, names no code,
// or has zeros for all addresses, which is how the kernel hides them.
func ReadSymbols(r io.Reader) (*Symbols, error) {
	s := new(Symbols)
	if err := s.read(r); err != nil {
		return nil, err
	}
	return s, nil
}

// Wait waits until the symbols are loaded.
func (s *Symbols) Wait() {
	if s != nil && s.loaded != nil {
		<-s.loaded
	}
}

// Err waits until the symbols are loaded. If there are none it returns one
// sentence that says why and what to do about it; places can then be shown as
// addresses only.
func (s *Symbols) Err() error {
	if s == nil {
		return errors.New("kernel symbols were not loaded")
	}
	s.Wait()
	return s.err
}

// Len returns the number of symbols. It waits until they are loaded.
func (s *Symbols) Len() int {
	if s == nil {
		return 0
	}
	s.Wait()
	return len(s.low)
}

// Skipped returns how many lines were not understood or did not fit. It waits
// until the symbols are loaded.
func (s *Symbols) Skipped() uint64 {
	if s == nil {
		return 0
	}
	s.Wait()
	return s.skipped
}

// Lookup returns the function that addr is in, how many bytes behind its start
// that is, and its module: empty for the kernel itself, bpf for BPF programs.
// It is not ok if the address is in none or if symbols are hidden. It waits
// until the symbols are loaded.
func (s *Symbols) Lookup(addr uint64) (name string, offset uint64, module string, ok bool) {
	if s == nil {
		return "", 0, "", false
	}
	s.Wait()
	i := s.find(addr)
	if i < 0 {
		return "", 0, "", false
	}
	offset = addr - s.addr(i)
	owner := sort.Search(len(s.owners), func(k int) bool { return s.owners[k].first > i }) - 1
	last := i+1 == len(s.low) || owner+1 < len(s.owners) && s.owners[owner+1].first == i+1 ||
		s.addr(i+1)>>32 != s.addr(i)>>32
	if last && offset >= maxTailOffset {
		return "", 0, "", false
	}
	return s.nameAt(i), offset, s.owners[owner].module, true
}

// find returns the index of the last symbol at or before addr, or -1.
func (s *Symbols) find(addr uint64) int {
	high, low := uint32(addr>>32), uint32(addr)
	r := sort.Search(len(s.runs), func(k int) bool { return s.runs[k].high > high }) - 1
	if r < 0 {
		return -1
	}
	end := len(s.low)
	if r+1 < len(s.runs) {
		end = s.runs[r+1].first
	}
	if s.runs[r].high != high {
		return end - 1
	}
	first := s.runs[r].first
	// The last of the run before, if addr is before the first of its own.
	return first + sort.Search(end-first, func(k int) bool { return s.low[first+k] > low }) - 1
}

func (s *Symbols) addr(i int) uint64 {
	r := sort.Search(len(s.runs), func(k int) bool { return s.runs[k].first > i }) - 1
	return uint64(s.runs[r].high)<<32 | uint64(s.low[i])
}

func (s *Symbols) nameAt(i int) string { return s.names.at(s.name[i]) }

// symbolNames holds names in chunks of chunkSize, so that growing copies
// nothing. None lies across two; each ends with a NUL.
type symbolNames [][]byte

// add stores a name of at most maxSymbolName bytes; not ok if there is no room.
func (n *symbolNames) add(name []byte) (offset uint32, ok bool) {
	last := len(*n) - 1
	if last < 0 || len((*n)[last])+len(name)+1 > chunkSize {
		if len(*n) == maxChunks {
			return 0, false
		}
		*n = append(*n, make([]byte, 0, chunkSize))
		last++
	}
	chunk := &(*n)[last]
	offset = uint32(last*chunkSize + len(*chunk))
	*chunk = append(append(*chunk, name...), 0)
	return offset, true
}

func (n symbolNames) at(offset uint32) string {
	name := n[offset/chunkSize][offset%chunkSize:]
	return string(name[:bytes.IndexByte(name, 0)])
}

// symbolEntry is a symbol while it is read, before sorting.
type symbolEntry struct {
	addr   uint64
	name   uint32
	module uint16
}

func (s *Symbols) read(r io.Reader) error {
	var (
		entries []symbolEntry
		modules = []string{""}
		index   = map[string]uint16{"": 0}
		shown   bool // an address other than zero
		sorted  = true
	)
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.skipped++ // no symbol: eat the rest of the line
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			line = nil
		}
		if len(line) > 0 {
			addr, name, module, kind := parseSymbol(line)
			switch kind {
			case symbolBroken:
				s.skipped++
			case symbolText:
				shown = shown || addr != 0
				m, known := index[string(module)]
				if !known && len(modules) < 1<<16 {
					m = uint16(len(modules))
					modules = append(modules, string(module))
					index[modules[m]] = m
					known = true
				}
				var offset uint32
				ok := false
				if known {
					offset, ok = s.names.add(name)
				}
				if !ok {
					s.skipped++
					break
				}
				if n := len(entries); n > 0 && addr < entries[n-1].addr {
					sorted = false
				}
				if len(entries) == cap(entries) { // doubling: less garbage than append's quarter
					entries = slices.Grow(entries, max(len(entries), 1<<10))
				}
				entries = append(entries, symbolEntry{addr, offset, m})
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read kernel symbols: %w", err)
		}
	}
	switch {
	case len(entries) == 0:
		return errNoSymbols
	case !shown:
		return errHiddenSymbols
	}
	if !sorted { // stable: of many names for an address the first counts
		slices.SortStableFunc(entries, func(a, b symbolEntry) int {
			switch {
			case a.addr < b.addr:
				return -1
			case a.addr > b.addr:
				return 1
			}
			return 0
		})
	}
	s.keep(entries, modules)
	return nil
}

// keep packs sorted entries.
func (s *Symbols) keep(entries []symbolEntry, modules []string) {
	unique := slices.CompactFunc(entries, func(a, b symbolEntry) bool { return a.addr == b.addr })
	s.low = make([]uint32, len(unique))
	s.name = make([]uint32, len(unique))
	for i, e := range unique {
		high := uint32(e.addr >> 32)
		if n := len(s.runs); n == 0 || s.runs[n-1].high != high {
			s.runs = append(s.runs, symbolRun{high, i})
		}
		if n := len(s.owners); n == 0 || s.owners[n-1].module != modules[e.module] {
			s.owners = append(s.owners, symbolOwner{i, modules[e.module]})
		}
		s.low[i], s.name[i] = uint32(e.addr), e.name
	}
}

type symbolKind int

const (
	symbolBroken symbolKind = iota
	symbolText
	symbolData
)

// parseSymbol splits one line of kallsyms: "ffffffff81000000 T _stext" or
// "ffffffffc0000000 t init_module\t[veth]".
func parseSymbol(line []byte) (addr uint64, name, module []byte, kind symbolKind) {
	line = bytes.TrimRight(line, "\n\r ")
	i := 0
	for ; i < len(line) && line[i] != ' '; i++ {
		digit := line[i]
		switch {
		case digit >= '0' && digit <= '9':
			digit -= '0'
		case digit >= 'a' && digit <= 'f':
			digit -= 'a' - 10
		default:
			return 0, nil, nil, symbolBroken
		}
		addr = addr<<4 | uint64(digit)
	}
	if i == 0 || i > 16 || len(line) < i+4 || line[i+2] != ' ' {
		return 0, nil, nil, symbolBroken
	}
	switch line[i+1] {
	case 'T', 't', 'W', 'w':
	default:
		return addr, nil, nil, symbolData
	}
	name = line[i+3:]
	if tab := bytes.IndexByte(name, '\t'); tab >= 0 {
		module = bytes.TrimSuffix(bytes.TrimPrefix(name[tab+1:], []byte("[")), []byte("]"))
		name = name[:tab]
	}
	if len(name) == 0 || len(name) > maxSymbolName || bytes.IndexByte(name, 0) >= 0 {
		return 0, nil, nil, symbolBroken
	}
	// Padding before a function, where no code runs: half of the symbols of a
	// kernel with CONFIG_CALL_PADDING.
	if bytes.HasPrefix(name, []byte("__pfx_")) || bytes.HasPrefix(name, []byte("__cfi_")) {
		return addr, nil, nil, symbolData
	}
	return addr, name, module, symbolText
}

var (
	errNoSymbols     = errors.New("kernel symbols are empty")
	errHiddenSymbols = errors.New("kernel symbol addresses are hidden")
)

// symbolsHidden says why there are no symbols, and the remedy.
func symbolsHidden(err error, sys sysctls) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("kernel symbols are missing: %s does not exist, so this kernel was built without CONFIG_KALLSYMS or /proc is not mounted; places are shown as addresses (%w)", kallsymsPath, err)
	case errors.Is(err, errHiddenSymbols):
		remedy := "run as root or with CAP_SYSLOG"
		if sys.kptrRestrict == "2" {
			remedy = "run sysctl -w kernel.kptr_restrict=1"
		}
		return fmt.Errorf("%w (kernel.kptr_restrict is %s): %s to see names instead of addresses", err, orUnknown(sys.kptrRestrict), remedy)
	case errors.Is(err, errNoSymbols):
		return fmt.Errorf("%w: %s names no code, so places are shown as addresses; a container's /proc may hide it", err, kallsymsPath)
	}
	return err
}

func orUnknown(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "unknown"
	}
	return s
}
