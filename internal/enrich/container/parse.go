package container

import "strings"

// idDigits is how many digits of an id the runtimes themselves print.
const idDigits = 12

// Info is what a cgroup's path says about the processes in it. The zero value
// says nothing: the root cgroup.
type Info struct {
	// ID is the container's id, its first 12 digits; for runtimes that name
	// their containers (lxc, systemd-nspawn) the whole name. Empty if the path
	// is not a container's.
	ID string
	// FullID is the id in full, as the runtime's socket wants it.
	FullID string
	// Runtime is docker, containerd, cri-o, podman, lxc, systemd-nspawn,
	// buildkit, ecs or, where a pod's path hides its runtime, kubepods. Empty
	// if there is no container or its path does not tell.
	Runtime string
	// PodUID is the Kubernetes pod's uid; a static pod's is the hash of its
	// manifest.
	PodUID string
	// Unit is the innermost systemd service or scope, else slice, that is not
	// itself a container; inside a container, the container's own.
	Unit string
}

// Parse reads a path below a cgroup root, as /proc/PID/cgroup has it, of
// either version. It never fails: a path that means nothing gives the zero
// Info. Of nested containers the innermost counts. The strings share the
// path's memory where they can.
//
// The forms are the runtimes' own: runc's systemd driver writes
// PREFIX-ID.scope and its cgroupfs driver PARENT/ID or SLICE:PREFIX:ID
// (opencontainers/runc docs/systemd.md); kubelet writes pod slices
// (kubernetes pkg/kubelet/cm/cgroup_manager_linux.go); LXC lxc.payload.NAME
// (lxc src/lxc/cgroups/cgroup_utils.h).
func Parse(path string) Info {
	p := parser{}
	for rest := path; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if segment == "" || segment == "." || segment == ".." {
			continue // a path seen from inside a cgroup namespace begins with /..
		}
		p.add(segment)
	}
	return p.info
}

// parser holds what the segments so far have said.
type parser struct {
	info   Info
	parent string // segment before this one
	depth  int
	kube   bool // below kubepods
	inUnit bool // info.Unit is a service or a scope
	before Info // as it was before the last nspawn machine
}

func (p *parser) add(s string) {
	defer func() { p.parent, p.depth = s, p.depth+1 }()
	if strings.Contains(s, "kubepods") {
		p.kube = true
	}
	if uid := podUID(s, p.kube); uid != "" {
		p.info.PodUID = uid
	}
	if s == "supervisor" && p.info.Runtime == "systemd-nspawn" {
		p.info = p.before // systemd-nspawn itself, not its payload
		return
	}
	if p.machine(s) || p.byID(s) || p.byParent(s) {
		return
	}
	p.unit(s)
}

// found notes a container; what was said of its surroundings is forgotten,
// except for the pod.
func (p *parser) found(runtime, id string) {
	p.info.Runtime, p.info.FullID, p.info.ID = runtime, id, id
	if len(id) > idDigits && isHex(id[:idDigits]) {
		p.info.ID = id[:idDigits]
	}
	p.info.Unit, p.inUnit = "", false
}

// machine tells the forms that carry a name.
func (p *parser) machine(s string) bool {
	if name, ok := strings.CutPrefix(s, "lxc.payload."); ok && name != "" {
		p.found("lxc", name)
		return true
	}
	name, ok := strings.CutPrefix(s, "systemd-nspawn@")
	if ok {
		name, ok = strings.CutSuffix(name, ".service")
	} else if name, ok = strings.CutPrefix(s, "machine-"); ok {
		name, ok = strings.CutSuffix(name, ".scope")
		// libvirt registers its virtual machines in the same place.
		ok = ok && !strings.HasPrefix(name, `qemu\x2d`) && !strings.HasPrefix(name, "qemu-")
	}
	if !ok || name == "" {
		return false
	}
	p.before = p.info
	p.found("systemd-nspawn", unescape(name))
	return true
}

// byID tells the forms that end in an id of 64 digits.
func (p *parser) byID(s string) bool {
	s = strings.TrimSuffix(s, ".scope")
	if len(s) < 64 || !isHex(s[len(s)-64:]) {
		return false
	}
	prefix, id := s[:len(s)-64], s[len(s)-64:]
	switch {
	case prefix == "":
		p.found(p.runtimeOfParent(), id)
		return true
	case strings.HasSuffix(prefix, "conmon-"):
		return false // the monitor of a container runs outside of it
	case strings.HasSuffix(prefix, "-"):
		p.found(runtimeOf(prefix[:len(prefix)-1]), id)
		return true
	case strings.HasSuffix(prefix, ":"):
		_, name, _ := cutLast(prefix[:len(prefix)-1], ":")
		p.found(runtimeOf(name), id)
		return true
	}
	return false
}

// byParent tells the forms where the segment before says what this one is.
func (p *parser) byParent(s string) bool {
	switch {
	case p.parent == "lxc" && p.depth == 1, p.parent == "lxc.payload":
		p.found("lxc", s)
	case p.parent == "buildkit":
		p.found("buildkit", s)
	case isFargate(s):
		p.found("ecs", s)
	default:
		return false
	}
	return true
}

func (p *parser) runtimeOfParent() string {
	if p.kube {
		return "kubepods"
	}
	return runtimeOf(p.parent)
}

// runtimeOf names the runtime by the prefix or the parent that it writes.
func runtimeOf(prefix string) string {
	switch prefix {
	case "docker":
		return "docker"
	case "cri-containerd", "containerd", "nerdctl", "k8s.io", "default", "moby":
		return "containerd" // the last three are its namespaces
	case "crio", "cri-o":
		return "cri-o"
	case "libpod", "libpod-payload", "libpod_parent", "podman":
		return "podman"
	case "buildkit", "runc":
		return "buildkit"
	case "ecs":
		return "ecs"
	}
	return ""
}

func (p *parser) unit(s string) {
	switch {
	case strings.HasSuffix(s, ".service"), strings.HasSuffix(s, ".scope"):
		p.info.Unit, p.inUnit = s, true
	case strings.HasSuffix(s, ".slice") && !p.inUnit && !p.kube:
		p.info.Unit = s
	}
}

// podUID takes the uid out of podUID, …-podUID.slice, where a slice's name
// has _ for -, and …-podUID.slice:cri-containerd:ID.
func podUID(s string, kube bool) string {
	if !kube {
		return ""
	}
	s, _, _ = strings.Cut(s, ":")
	s = strings.TrimSuffix(s, ".slice")
	at := strings.LastIndex(s, "pod")
	if at < 0 || (at > 0 && s[at-1] != '-') {
		return ""
	}
	uid := s[at+len("pod"):]
	if len(uid) == 32 && isHex(uid) {
		return uid
	}
	if len(uid) != 36 {
		return ""
	}
	for i := range len(uid) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (uid[i] == '-' || uid[i] == '_') || !dash && !isHex(uid[i:i+1]) {
			return ""
		}
	}
	return strings.ReplaceAll(uid, "_", "-")
}

// isFargate tells AWS Fargate's ids: 32 digits, a dash and some decimals.
func isFargate(s string) bool {
	if len(s) < 34 || s[32] != '-' || !isHex(s[:32]) {
		return false
	}
	return strings.Trim(s[33:], "0123456789") == ""
}

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// unescape undoes systemd's \xNN in unit names (systemd.unit(5), "String
// escaping for inclusion in unit names").
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4 && isHex(s[i+2:i+4]) {
			b.WriteByte(digit(s[i+2])<<4 | digit(s[i+3]))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func digit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
