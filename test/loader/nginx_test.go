package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/web"
)

// nginxSite serves every path and logs what url_map counts: method, host, path.
const nginxSite = `
	log_format counted '$request_method $host $uri';
	access_log LOG counted;
	server { listen 80; location / { return 200 "here\n"; } }
`

// TestNginx has url_map beside nginx, asked by curl and flooded by wrk: XDP and
// tc count exactly what the access log says, in both modes of XDP.
func TestNginx(t *testing.T) {
	need.Time(t)
	need.Root(t)
	object := compile(t, filepath.Join(examples, "url_map.bpf.c"))
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			log := web.StartNginx(w.server, nginxSite, "10.0.0.2:80").Log
			w.netfate("run", object, "--dev", "eth0", "--mode", mode, "--pin", "--detach")
			curl := func(args ...string) {
				w.client.Exec(append([]string{"curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull}, args...)...)
			}
			for i := range 6 {
				curl("--header", fmt.Sprintf("Host: shop%d.example", i%2), fmt.Sprintf("http://10.0.0.2/item/%d?session=%d", i%3, i))
			}
			curl("--data", "money", "http://10.0.0.2/pay")
			web.Wrk(w.client, "--threads", "1", "--connections", "8", "--duration", "1s", "http://10.0.0.2/flood")

			var logged, byXDP, byTC counts
			// wrk leaves with requests under way: nginx logs those as it finds out.
			netlab.Poll(patience, func() bool {
				logged = readLog(t, log)
				byXDP, byTC = w.dump(urlPins + "url_map")
				return cmp.Equal(logged, byXDP) && cmp.Equal(logged, byTC)
			})
			if diff := cmp.Diff(logged, byXDP); diff != "" {
				t.Errorf("XDP (-access log +url_map):\n%s", diff)
			}
			if diff := cmp.Diff(logged, byTC); diff != "" {
				t.Errorf("tc (-access log +url_map):\n%s", diff)
			}
			w.netfate("stop", "url_map")
			w.wantNothingLeft()
		})
	}
}

// readLog counts the lines of nginx's access log.
func readLog(t *testing.T, path string) counts {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	logged := counts{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 {
			logged[request{f[0], f[1], f[2]}]++
		}
	}
	return logged
}
