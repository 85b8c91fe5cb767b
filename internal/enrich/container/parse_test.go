package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	id64  = "3f0c7e0a9b1d2c3e4f5061728394a5b6c7d8e9f00112233445566778899aabbc"
	id12  = "3f0c7e0a9b1d"
	other = "a1a2a3a4a5a6a7a8b1b2b3b4b5b6b7b8c1c2c3c4c5c6c7c8d1d2d3d4d5d6d7d8"
	uid   = "1f3d7a2b-0c4e-4b6f-9a8d-7e6f5a4b3c2d"
	uid_  = "1f3d7a2b_0c4e_4b6f_9a8d_7e6f5a4b3c2d"
	hash  = "0123456789abcdef0123456789abcdef"
)

// Paths as runtimes write them, by version and driver.
func TestParse(t *testing.T) {
	c := func(runtime string) Info { return Info{ID: id12, FullID: id64, Runtime: runtime} }
	pod := func(runtime, uid string) Info {
		return Info{ID: id12, FullID: id64, Runtime: runtime, PodUID: uid}
	}
	tests := []struct {
		name, path string
		want       Info
	}{
		{"root", "/", Info{}},
		{"empty", "", Info{}},
		{"init", "/init.scope", Info{Unit: "init.scope"}},
		{"service", "/system.slice/nginx.service", Info{Unit: "nginx.service"}},
		{"service with a cgroup of its own", "/system.slice/nginx.service/workers", Info{Unit: "nginx.service"}},
		{"template", "/system.slice/system-getty.slice/getty@tty1.service", Info{Unit: "getty@tty1.service"}},
		{"slice only", "/system.slice", Info{Unit: "system.slice"}},
		{"session", "/user.slice/user-1000.slice/session-3.scope", Info{Unit: "session-3.scope"}},
		{"desktop program", "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-1234.scope", Info{Unit: "app-gnome-firefox-1234.scope"}},
		{"slice below a service", "/user.slice/user-1000.slice/user@1000.service/app.slice", Info{Unit: "user@1000.service"}},
		{"no systemd", "/process_api/" + hash, Info{}},

		{"docker, v1, cgroupfs", "/docker/" + id64, c("docker")},
		{"docker, v2, systemd", "/system.slice/docker-" + id64 + ".scope", c("docker")},
		{"docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id64 + ".scope", c("docker")},
		{"docker, runc's colons", "system.slice:docker:" + id64, c("docker")},
		{"docker, parent of the user's", "/actions_job/" + id64, c("")},
		{"docker with systemd inside", "/docker/" + id64 + "/system.slice/nginx.service", Info{ID: id12, FullID: id64, Runtime: "docker", Unit: "nginx.service"}},
		{"docker, seen from another cgroup namespace", "/../../docker/" + id64, c("docker")},
		{"docker daemon", "/system.slice/docker.service", Info{Unit: "docker.service"}},
		{"buildkit", "/docker/buildkit/ug3hk8o5o1mbwwfz3fqxw0p4o", Info{ID: "ug3hk8o5o1mbwwfz3fqxw0p4o", FullID: "ug3hk8o5o1mbwwfz3fqxw0p4o", Runtime: "buildkit"}},
		{"nerdctl", "/system.slice/nerdctl-" + id64 + ".scope", c("containerd")},
		{"containerd, cgroupfs", "/default/" + id64, c("containerd")},

		{"podman, root", "/machine.slice/libpod-" + id64 + ".scope", c("podman")},
		{"podman, crun's own cgroup", "/machine.slice/libpod-" + id64 + ".scope/container", c("podman")},
		{"podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id64 + ".scope/container", c("podman")},
		{"podman, in a pod", "/machine.slice/machine-libpod_pod_" + other + ".slice/libpod-" + id64 + ".scope", c("podman")},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + id64, c("podman")},
		{"podman, quadlet", "/system.slice/web.service/libpod-payload-" + id64, c("podman")},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + id64 + ".scope", Info{Unit: "libpod-conmon-" + id64 + ".scope"}},

		{"kubelet, cgroupfs", "/kubepods/besteffort/pod" + uid + "/" + id64, pod("kubepods", uid)},
		{"kubelet, cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + id64, pod("kubepods", uid)},
		{"kubelet, static pod", "/kubepods/burstable/pod" + hash + "/" + id64, pod("kubepods", hash)},
		{"kubelet, systemd, containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + id64 + ".scope", pod("containerd", uid)},
		{"kubelet, systemd, guaranteed", "/kubepods.slice/kubepods-pod" + uid_ + ".slice/cri-containerd-" + id64 + ".scope", pod("containerd", uid)},
		{"kubelet, systemd, cri-o", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uid_ + ".slice/crio-" + id64 + ".scope", pod("cri-o", uid)},
		{"kubelet, systemd, cri-o with crun", "/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + id64 + ".scope/container", pod("cri-o", uid)},
		{"kubelet, cgroupfs, cri-o", "/kubepods/pod" + uid + "/crio-" + id64, pod("cri-o", uid)},
		{"kubelet, systemd, docker", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uid_ + ".slice/docker-" + id64 + ".scope", pod("docker", uid)},
		{"containerd under systemd, cgroupfs", "/system.slice/containerd.service/kubepods-burstable-pod" + uid_ + ".slice:cri-containerd:" + id64, pod("containerd", uid)},
		{"cri-o's monitor", "/kubepods/pod" + uid + "/crio-conmon-" + id64, Info{PodUID: uid}},
		{"pod without a container", "/kubepods.slice/kubepods-pod" + uid_ + ".slice", Info{PodUID: uid}},
		{"kind", "/docker/" + other + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + uid_ + ".slice/cri-containerd-" + id64 + ".scope", pod("containerd", uid)},
		{"minikube's docker", "/docker/" + other + "/docker/" + id64, c("docker")},
		{"kubelet itself", "/system.slice/kubelet.service", Info{Unit: "kubelet.service"}},

		{"ecs", "/ecs/" + uid + "/" + id64, c("")},
		{"ecs, fargate", "/ecs/" + hash + "/" + hash + "-4081167180", Info{ID: hash[:12], FullID: hash + "-4081167180", Runtime: "ecs"}},
		{"ecs, systemd", "/ecstasks.slice/ecstasks-" + hash + ".slice/docker-" + id64 + ".scope", c("docker")},

		{"lxc, v1", "/lxc/web/init.scope", Info{ID: "web", FullID: "web", Runtime: "lxc", Unit: "init.scope"}},
		{"proxmox", "/lxc/100/ns/system.slice/ssh.service", Info{ID: "100", FullID: "100", Runtime: "lxc", Unit: "ssh.service"}},
		{"lxc 4", "/lxc.payload.web", Info{ID: "web", FullID: "web", Runtime: "lxc"}},
		{"lxd", "/lxc.payload.web-1/system.slice/nginx.service", Info{ID: "web-1", FullID: "web-1", Runtime: "lxc", Unit: "nginx.service"}},
		{"lxc, nested", "/lxc.payload.a/lxc.payload.b", Info{ID: "b", FullID: "b", Runtime: "lxc"}},
		{"lxc's monitor", "/lxc.monitor.web", Info{}},
		{"nspawn, unit", "/machine.slice/systemd-nspawn@web.service/payload", Info{ID: "web", FullID: "web", Runtime: "systemd-nspawn"}},
		{"nspawn, registered", `/machine.slice/machine-web\x2d1.scope/payload/system.slice/nginx.service`, Info{ID: "web-1", FullID: "web-1", Runtime: "systemd-nspawn", Unit: "nginx.service"}},
		{"nspawn itself", "/machine.slice/systemd-nspawn@web.service/supervisor", Info{Unit: "machine.slice"}},
		{"libvirt", `/machine.slice/machine-qemu\x2d1\x2ddebian.scope/libvirt/vcpu0`, Info{Unit: `machine-qemu\x2d1\x2ddebian.scope`}},

		{"id too short", "/docker/" + id64[1:], Info{}},
		{"id in capitals", "/docker/" + strings.ToUpper(id64), Info{}},
		{"pod's uid too short", "/kubepods/pod1234/" + id64, c("kubepods")},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Parse(tt.path)); diff != "" {
			t.Errorf("%s: Parse(%q) (-want +got):\n%s", tt.name, tt.path, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/system.slice/docker-" + id64 + ".scope")
	f.Add("/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + id64 + ".scope/container")
	f.Add(`/machine.slice/machine-a\x2d1.scope/supervisor`)
	f.Add("/lxc.payload.x/../..//a\x00b")
	f.Fuzz(func(t *testing.T, path string) {
		got := Parse(path)
		if (got.ID == "") != (got.FullID == "") {
			t.Errorf("Parse(%q) = %+v: half an id", path, got)
		}
		if got.Runtime != "" && got.ID == "" {
			t.Errorf("Parse(%q) = %+v: a runtime without a container", path, got)
		}
		if !strings.HasPrefix(got.FullID, got.ID) {
			t.Errorf("Parse(%q) = %+v: id is no prefix of the full id", path, got)
		}
		if again := Parse("/" + path + "/"); again != got {
			t.Errorf("Parse(%q) = %+v, with slashes around it %+v", path, got, again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Parse("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + hash + ".slice/cri-containerd-" + id64 + ".scope")
	}
}
