package identity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sockets are where runtimes listen, with what is spoken there.
var sockets = []string{
	"docker:/run/docker.sock",
	"docker:/run/podman/podman.sock",
	"cri:/run/containerd/containerd.sock",
	"cri:/run/k3s/containerd/containerd.sock",
	"cri:/run/crio/crio.sock",
}

// Auto stands for the sockets that runtimes use by default, as far as they are
// there.
const Auto = "auto"

// Runtimes returns sources for sockets: docker:PATH for the API of Docker, which
// podman speaks too, cri:PATH for that of Kubernetes' runtimes, or Auto.
func Runtimes(specs []string) ([]Source, error) {
	var sources []Source
	for _, spec := range specs {
		if spec == Auto {
			for _, s := range sockets {
				source, _ := runtime(s)
				sources = append(sources, perhaps{source})
			}
			continue
		}
		source, err := runtime(spec)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	return sources, nil
}

func runtime(spec string) (*socket, error) {
	kind, path, _ := strings.Cut(spec, ":")
	list := map[string]func(context.Context, string) (Listing, error){"docker": listDocker, "cri": listCRI}[kind]
	if list == nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is no runtime: it is docker:PATH or cri:PATH, with the path of its socket, or %s", spec, Auto)
	}
	return &socket{kind, path, list}, nil
}

// socket is a runtime.
type socket struct {
	kind, path string
	list       func(ctx context.Context, path string) (Listing, error)
}

func (s *socket) String() string { return s.kind + " at " + s.path }

// List asks the runtime for all its containers, those too that have ended: what
// they lost is told after that.
func (s *socket) List(ctx context.Context) (Listing, error) {
	l, err := s.list(ctx, s.path)
	if errors.Is(err, unix.EACCES) {
		return l, fmt.Errorf("netfate may not write to the socket, so containers have no names: %w", err)
	}
	return l, err
}

// perhaps is a runtime that need not be there.
type perhaps struct{ *socket }

func (p perhaps) List(ctx context.Context) (Listing, error) {
	if _, err := os.Stat(p.path); errors.Is(err, fs.ErrNotExist) {
		return Listing{}, nil
	}
	l, err := p.socket.List(ctx)
	// One that was stopped leaves its socket; one that is no CRI has other uses.
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, errNoCRI) {
		return Listing{}, nil
	}
	return l, err
}

// dial connects to a unix socket.
func dial(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

// Labels by which Kubernetes tells its runtimes whose a container is, and Docker's
// tools theirs (kubernetes pkg/kubelet/types/labels.go).
const (
	labelContainer = "io.kubernetes.container.name"
	labelPod       = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelUID       = "io.kubernetes.pod.uid"
)

// add notes a container that a runtime calls name, with its labels.
func (l *Listing) add(id, name string, labels map[string]string) {
	if l.Containers == nil {
		l.Containers, l.Pods = map[string]Named{}, map[string]Named{}
	}
	n := Named{Container: name, Pod: labels[labelPod], PodNamespace: labels[labelNamespace]}
	if of := labels[labelContainer]; of != "" {
		n.Container = of
	}
	l.Containers[id] = n
	if uid := labels[labelUID]; uid != "" {
		l.Pods[uid] = Named{Pod: n.Pod, PodNamespace: n.PodNamespace}
	}
}
