package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

const netfate = "../../packaging/helm/netfate"

// rendered returns the DaemonSet that the chart makes of some values, and every manifest.
func rendered(t *testing.T, values map[string]any) (*apps.DaemonSet, string) {
	t.Helper()
	c, err := loader.Load(netfate)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := render(c, values)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(texts)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if set, ok := o.(*apps.DaemonSet); ok {
			return set, strings.Join(texts, "")
		}
	}
	t.Fatalf("no DaemonSet in\n%s", strings.Join(texts, ""))
	return nil, ""
}

// TestRights holds the pod to what the systemd unit gives, and to nothing more.
func TestRights(t *testing.T) {
	unit, err := os.ReadFile("../../packaging/systemd/netfate.service")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(unit), "\nAmbientCapabilities=")
	line, _, _ := strings.Cut(after, "\n")
	var want []core.Capability
	for _, c := range strings.Fields(line) {
		want = append(want, core.Capability(strings.TrimPrefix(c, "CAP_")))
	}
	set, _ := rendered(t, nil)
	pod := set.Spec.Template.Spec
	got := pod.Containers[0].SecurityContext
	slices.Sort(want)
	slices.Sort(got.Capabilities.Add)
	if len(want) == 0 || !slices.Equal(got.Capabilities.Add, want) || !slices.Equal(got.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("capabilities: got %v but %v; want %v, as the unit has, and no others", got.Capabilities.Add, got.Capabilities.Drop, want)
	}
	if *got.Privileged || !*got.ReadOnlyRootFilesystem || !pod.HostNetwork || !pod.HostPID || pod.HostIPC || *pod.AutomountServiceAccountToken {
		t.Errorf("got %+v of %+v, want the node's network and processes, and a root that cannot be written to", got, pod)
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if own := m.MountPath == "/var/lib/netfate" || m.MountPath == "/run/netfate"; m.ReadOnly == own {
			t.Errorf("%s: read-only is %v, want what is netfate's alone to be written to", m.MountPath, m.ReadOnly)
		}
	}
}

// TestValues renders what can be chosen.
func TestValues(t *testing.T) {
	plain, _ := rendered(t, nil)
	set, text := rendered(t, map[string]any{
		"config":           map[string]any{"history": map[string]any{"size": "500MB"}},
		"secretName":       "token",
		"historyDir":       "",
		"probePort":        0,
		"seLinuxType":      "spc_t",
		"imagePullSecrets": []any{map[string]any{"name": "registry"}},
		"affinity":         map[string]any{"nodeAffinity": map[string]any{}},
		"podAnnotations":   map[string]any{"a": "b"},
	})
	pod := set.Spec.Template.Spec
	switch {
	case !strings.Contains(text, "      size: 500MB\n"):
		t.Errorf("the configuration is not in\n%s", text)
	case set.Spec.Template.Annotations["netfate.io/config"] == plain.Spec.Template.Annotations["netfate.io/config"]:
		t.Error("another configuration makes no other pod")
	case pod.Containers[0].LivenessProbe != nil || plain.Spec.Template.Spec.Containers[0].LivenessProbe == nil:
		t.Error("the probe is there without a port, or not there with one")
	case pod.Containers[0].SecurityContext.SELinuxOptions.Type != "spc_t":
		t.Error("SELinux has no type")
	}
	volumes := map[string]core.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
	}
	if volumes["secret"].Secret == nil || volumes["history"].EmptyDir == nil {
		t.Errorf("got volumes %+v, want the secret, and a history of the pod's own", pod.Volumes)
	}
}

// TestRefuses holds that a misspelt field does not pass.
func TestRefuses(t *testing.T) {
	if _, err := decode([]string{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {}\n"}); err == nil {
		t.Error("got nil for a field that there is not, want an error")
	}
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	var manifest bytes.Buffer
	if err := run(&manifest, netfate, "1.2.3", dir); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(manifest.String(), "netfate:1.2.3") {
		t.Errorf("got\n%s\nwant the image of that version", &manifest)
	}
	c, err := loader.Load(filepath.Join(dir, "netfate-1.2.3.tgz"))
	if err != nil || c.AppVersion() != "1.2.3" {
		t.Errorf("got %v, %v, want the chart of that version", c, err)
	}
}
