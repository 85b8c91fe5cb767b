package tls

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/tlslib"
)

// fileID is a file as long as it is watched, which keeps its inode. Of a file on
// overlayfs, which containers have, the layers below know the inode and each
// container has another device, so there the device is 0, and size and time of
// the last change have to tell files of different layers apart.
type fileID struct {
	dev, inode uint64
	size       int64
	changed    int64 // ns
}

// contentID is a file that is not watched, whose inode may come again.
type contentID struct {
	fileID
	status int64 // of the inode, ns
}

// identify says which file an open one is.
func identify(f *os.File) (fileID, contentID, error) {
	var st unix.Stat_t
	var mount unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &st), unix.Fstatfs(int(f.Fd()), &mount)); err != nil {
		return fileID{}, contentID{}, err
	}
	id := fileID{inode: st.Ino}
	changed := fileID{dev: st.Dev, inode: st.Ino, size: st.Size, changed: st.Mtim.Nano()}
	if mount.Type == unix.OVERLAYFS_SUPER_MAGIC {
		id.size, id.changed = st.Size, st.Mtim.Nano()
	} else {
		id.dev = st.Dev
	}
	return id, contentID{changed, st.Ctim.Nano()}, nil
}

// programs returns the name of the program for each place.
func programs() map[tlslib.What]string {
	return map[tlslib.What]string{
		tlslib.Write: "c_write", tlslib.Read: "c_read", tlslib.WriteEx: "c_write_ex", tlslib.ReadEx: "c_read_ex",
		tlslib.Client: "c_client", tlslib.Server: "c_server", tlslib.Handshake: "c_handshake", tlslib.Free: "c_free",
		tlslib.Connect: "c_connect", tlslib.Accept: "c_accept",
		tlslib.GoWrite: "go_write", tlslib.GoRead: "go_read", tlslib.GoReturn: "go_return",
		tlslib.GoClient: "go_client", tlslib.GoServer: "go_server", tlslib.GoClose: "go_close",
	}
}

// The programs at all places but returns of C, by their cookies, where one link
// takes many, and at returns of C.
const (
	onAny    = "begins_or_ends"
	onReturn = "c_return"
)

// watch puts programs into a file.
func (s *Sensor) watch(f *os.File) ([]link.Link, error) {
	sites, err := tlslib.Find(f)
	if err != nil {
		return nil, err
	}
	// By the open file, since its process may go, and its name be another's.
	exe, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, err
	}
	var returns []tlslib.Site
	for _, site := range sites {
		if site.What.Returns() {
			returns = append(returns, site)
		}
	}
	if len(returns) > 0 {
		s.watchSockets()
	}
	// Beginnings first: a return whose beginning was not seen counts as a loss.
	links, err := s.hang(exe, sites, false)
	if err == nil {
		var more []link.Link
		more, err = s.hang(exe, returns, true)
		links = append(links, more...)
	}
	if err != nil {
		return nil, errors.Join(err, closeAll(links))
	}
	return links, nil
}

// hang puts programs at places of a file, or at the returns of functions there.
func (s *Sensor) hang(exe *link.Executable, sites []tlslib.Site, returns bool) (links []link.Link, err error) {
	if s.multi {
		return s.hangMulti(exe, sites, returns)
	}
	for _, site := range sites {
		attach, name := exe.Uprobe, programs()[site.What]
		if returns {
			attach, name = exe.Uretprobe, onReturn
		}
		l, err := attach("", s.coll.Programs[name], &link.UprobeOptions{Address: site.Offset})
		if err != nil {
			return links, fmt.Errorf("attach %s to %s: %w", name, site.Function, err)
		}
		links = append(links, l)
	}
	return links, nil
}

func (s *Sensor) hangMulti(exe *link.Executable, sites []tlslib.Site, returns bool) ([]link.Link, error) {
	if len(sites) == 0 {
		return nil, nil
	}
	attach, name := exe.UprobeMulti, onAny
	if returns {
		attach, name = exe.UretprobeMulti, onReturn
	}
	var opts link.UprobeMultiOptions
	for _, site := range sites {
		opts.Addresses = append(opts.Addresses, site.Offset)
		opts.Cookies = append(opts.Cookies, uint64(site.What))
	}
	l, err := attach(nil, s.coll.Programs[name], &opts)
	if err != nil {
		return nil, fmt.Errorf("attach %s to %d places: %w", name, len(sites), err)
	}
	return []link.Link{l}, nil
}

// tryMulti tries one link to many places, in a file in memory that no process
// maps.
func (s *Sensor) tryMulti() error {
	const size, place = 4096, 64
	fd, err := unix.MemfdCreate("netfate", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "netfate")
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		return err
	}
	exe, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	links, err := s.hangMulti(exe, []tlslib.Site{{Function: "none", Offset: place}}, false)
	return errors.Join(err, closeAll(links))
}
