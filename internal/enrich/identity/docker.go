package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxAnswer bounds what is read of one answer; a thousand containers of Docker
// take 2 MB, a node's pods some MB.
const maxAnswer = 64 << 20

// dockerContainer is what is read of one (docs.docker.com/reference/api/engine,
// GET /containers/json).
type dockerContainer struct {
	ID     string `json:"Id"`
	Names  []string
	Labels map[string]string
}

// listDocker asks Docker, or podman, which speaks the same.
func listDocker(ctx context.Context, path string) (Listing, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) }}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/containers/json?all=true", http.NoBody)
	if err != nil {
		return Listing{}, err
	}
	var list []dockerContainer
	if err := getJSON(&http.Client{Transport: transport}, req, maxAnswer, &list); err != nil {
		return Listing{}, err
	}
	var l Listing
	for _, c := range list {
		name := ""
		// Links of old give a container further names, below those of others.
		for _, n := range c.Names {
			if n = strings.TrimPrefix(n, "/"); name == "" || !strings.Contains(n, "/") {
				name = n
			}
		}
		l.add(c.ID, name, c.Labels)
	}
	return l, nil
}

// getJSON sends a request and reads the answer, of so many bytes at the most.
func getJSON(client *http.Client, req *http.Request, most int64, answer any) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status says enough
		return fmt.Errorf("it answered %s: %s", resp.Status, strings.TrimSpace(string(said)))
	}
	body := &io.LimitedReader{R: resp.Body, N: most}
	err = json.NewDecoder(body).Decode(answer)
	switch {
	case err != nil && body.N == 0:
		return fmt.Errorf("its answer is longer than the %d bytes that are read", most)
	case err != nil:
		return fmt.Errorf("read its answer: %w", err)
	}
	return nil
}
