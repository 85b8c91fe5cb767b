package identity

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen makes a socket and returns its path.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l, path
}

// serve answers at a socket with what Docker would, and returns its path.
func serve(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	l, path := listen(t)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer}}
	server.Start()
	t.Cleanup(server.Close)
	return path
}

// What a Docker host answers, by its API's description.
const dockerAnswer = `[
 {"Id":"8dfafdbc3a40", "Names":["/db/of/web", "/web"], "Image":"nginx", "State":"running", "Labels":{"com.docker.compose.service":"web"}},
 {"Id":"9cd87474be90", "Names":["/k8s_api_api-7d9_shop_1-2_0"], "State":"exited", "Labels":{
   "io.kubernetes.container.name":"api", "io.kubernetes.pod.name":"api-7d9", "io.kubernetes.pod.namespace":"shop", "io.kubernetes.pod.uid":"1-2"}},
 {"Id":"3176a2479c92", "Names":null, "Labels":null}]`

func TestDocker(t *testing.T) {
	path := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/containers/json" || r.URL.Query().Get("all") != "true" {
			t.Errorf("asked with %s for %s", r.Method, r.URL)
		}
		fmt.Fprint(w, dockerAnswer)
	})
	sources, err := Runtimes([]string{"docker:" + path})
	if err != nil {
		t.Fatal(err)
	}
	got, err := sources[0].List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Listing{
		Containers: map[string]Named{"8dfafdbc3a40": {Container: "web"}, "9cd87474be90": {"api", "api-7d9", "shop"}, "3176a2479c92": {}},
		Pods:       map[string]Named{"1-2": {Pod: "api-7d9", PodNamespace: "shop"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDockerFaults(t *testing.T) {
	for _, c := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"too old"}`, http.StatusBadRequest)
		},
			`it answered 400 Bad Request: {"message":"too old"}`},
		{func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"Id": 7`) }, "read its answer: "},
	} {
		_, err := listDocker(t.Context(), serve(t, c.answer))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got error %v, want %q", err, c.want)
		}
	}
}

func TestLongAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, dockerAnswer) }))
	defer server.Close()
	for most, want := range map[int64]string{int64(len(dockerAnswer)): "", 100: "its answer is longer than the 100 bytes that are read"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		var list []dockerContainer
		if err := getJSON(server.Client(), req, most, &list); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("at most %d bytes: got error %v, want %q", most, err, want)
		}
	}
}

func TestRuntimes(t *testing.T) {
	sources, err := Runtimes([]string{Auto, "cri:/run/x.sock"})
	if err != nil || len(sources) != len(sockets)+1 {
		t.Fatalf("got %d sources, error %v", len(sources), err)
	}
	if got := sources[len(sockets)].String(); got != "cri at /run/x.sock" {
		t.Errorf("got %q", got)
	}
	for _, spec := range []string{"", "none", "/run/docker.sock", "docker", "docker:run/docker.sock", "lxd:/run/lxd.sock"} {
		if _, err := Runtimes([]string{spec}); err == nil {
			t.Errorf("%q was taken for a runtime", spec)
		}
	}
}

// A runtime that need not be there may be missing, stopped, or another's.
func TestPerhaps(t *testing.T) {
	l, stopped := listen(t)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	missing := filepath.Join(t.TempDir(), "nothing")
	other := startCRI(t, nil)
	for _, path := range []string{missing, stopped, other} {
		s := &socket{"cri", path, listCRI}
		if _, err := s.List(t.Context()); err == nil {
			t.Errorf("%s: no error of a runtime that has to be there", path)
		}
		if _, err := (perhaps{s}).List(t.Context()); err != nil {
			t.Errorf("%s: got error %v of one that need not", path, err)
		}
	}
}

// runtimeServer is a runtime of Kubernetes that has what it is given.
type runtimeServer struct {
	cri.UnimplementedRuntimeServiceServer
	list []*cri.Container
}

func (s *runtimeServer) ListContainers(context.Context, *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	return &cri.ListContainersResponse{Containers: s.list}, nil
}

// startCRI serves a runtime, none if it is nil, and returns its path.
func startCRI(t *testing.T, s *runtimeServer) string {
	t.Helper()
	l, path := listen(t)
	server := grpc.NewServer()
	if s != nil {
		cri.RegisterRuntimeServiceServer(server, s)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestCRI(t *testing.T) {
	labels := map[string]string{labelContainer: "web", labelPod: "web-1", labelNamespace: "shop", labelUID: "3-4"}
	s := &runtimeServer{list: []*cri.Container{
		{Id: "aa", Metadata: &cri.ContainerMetadata{Name: "web", Attempt: 2}, Labels: labels},
		{Id: "bb", Metadata: &cri.ContainerMetadata{Name: "lonely"}},
	}}
	for i := range 5000 { // more than 4 MiB, which is all that gRPC takes by default
		s.list = append(s.list, &cri.Container{Id: fmt.Sprint(i), Annotations: map[string]string{"a": strings.Repeat("x", 1000)}})
	}
	got, err := listCRI(t.Context(), startCRI(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Containers) != 5002 || got.Containers["aa"] != (Named{"web", "web-1", "shop"}) || got.Containers["bb"] != (Named{Container: "lonely"}) {
		t.Errorf("got %d containers, %+v and %+v", len(got.Containers), got.Containers["aa"], got.Containers["bb"])
	}
	if diff := cmp.Diff(map[string]Named{"3-4": {Pod: "web-1", PodNamespace: "shop"}}, got.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

// TestPods asks a kubelet, whose answer is of a small cluster's node.
func TestPods(t *testing.T) {
	answer, err := os.ReadFile("testdata/pods.json")
	if err != nil {
		t.Fatal(err)
	}
	const secret = "s3cret"
	kubelet := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+secret:
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
		default:
			_, _ = w.Write(answer)
		}
	}))
	defer kubelet.Close()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, wrong := write("token", []byte(secret+"\n")), write("wrong", []byte("guess"))
	ca := write("ca", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kubelet.Certificate().Raw}))
	for _, p := range []Pods{
		{URL: kubelet.URL + "/pods", TokenFile: token, CAFile: ca},
		{URL: kubelet.URL + "/pods", TokenFile: token, SkipVerify: true},
	} {
		got, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		web := Named{Pod: "web-5d59d67564-8xkzl", PodNamespace: "shop"}
		proxy := Named{Pod: "kube-proxy-control", PodNamespace: "kube-system"}
		of := func(n Named, container string) Named {
			n.Container = container
			return n
		}
		want := Listing{
			Pods: map[string]Named{"4c1f8a3e-0b5d-4b0e-9d65-2f0c6f1b7a11": web, "0a1b": proxy, "9f8e7d6c5b4a39281706f5e4d3c2b1a0": proxy},
			Containers: map[string]Named{
				"c1": of(web, "migrate"), "c2": of(web, "nginx"), "c3": of(web, "exporter"), "c4": of(web, "exporter"), "c5": of(proxy, "kube-proxy"),
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for want, p := range map[string]Pods{
		"certificate":                  {URL: kubelet.URL + "/pods", TokenFile: token},
		"it answered 401 Unauthorized": {URL: kubelet.URL + "/pods", TokenFile: wrong, CAFile: ca},
		"which is not followed":        {URL: kubelet.URL + "/elsewhere", TokenFile: token, CAFile: ca},
		"read the token to show":       {URL: kubelet.URL + "/pods", TokenFile: filepath.Join(dir, "none"), CAFile: ca},
		"has no certificate in PEM":    {URL: kubelet.URL + "/pods", CAFile: token},
	} {
		if _, err := p.List(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func FuzzPods(f *testing.F) {
	text, err := os.ReadFile("testdata/pods.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(dockerAnswer))
	f.Fuzz(func(t *testing.T, text []byte) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
		defer server.Close()
		p := &Pods{URL: server.URL}
		if l, err := p.List(t.Context()); err == nil && l.Containers == nil {
			t.Error("a list without containers")
		}
	})
}
