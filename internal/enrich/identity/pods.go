package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// Pods is a kubelet, or an API server, which is asked for the pods of a node.
type Pods struct {
	// URL is where pods are listed: https://127.0.0.1:10250/pods of a kubelet,
	// https://SERVER/api/v1/pods?fieldSelector=spec.nodeName%3DNODE of an API server.
	URL string
	// TokenFile has the token to show, which is read each time, since tokens are
	// renewed; empty shows none.
	TokenFile string
	// CAFile has the certificates of those who vouch for the server, in PEM; empty
	// takes the host's.
	CAFile string
	// SkipVerify takes any certificate, as kubelets sign their own; the token is
	// shown to whoever listens there.
	SkipVerify bool
}

func (p *Pods) String() string { return "pods at " + p.URL }

// podList is what is read of a list of pods (kubernetes.io/docs/reference, PodList).
type podList struct {
	Items []pod `json:"items"`
}

type pod struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		UID         string            `json:"uid"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		Containers []podContainer `json:"containerStatuses"`
		Init       []podContainer `json:"initContainerStatuses"`
		Ephemeral  []podContainer `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type podContainer struct {
	Name string `json:"name"`
	ID   string `json:"containerID"` // RUNTIME://ID
	Last struct {
		Terminated struct {
			ID string `json:"containerID"`
		} `json:"terminated"`
	} `json:"lastState"`
}

// configHash is the annotation with the uid that the kubelet gives the cgroup of a
// pod from a file (kubernetes pkg/kubelet/types/constants.go).
const configHash = "kubernetes.io/config.hash"

// List asks for the pods and their containers, the last one of each that was
// restarted included.
func (p *Pods) List(ctx context.Context) (Listing, error) {
	client, err := p.client()
	if err != nil {
		return Listing{}, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, http.NoBody)
	if err != nil {
		return Listing{}, err
	}
	if p.TokenFile != "" {
		token, err := os.ReadFile(p.TokenFile)
		if err != nil {
			return Listing{}, fmt.Errorf("read the token to show: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	var list podList
	if err := getJSON(client, req, maxAnswer, &list); err != nil {
		return Listing{}, err
	}
	return list.listing(), nil
}

func (p *Pods) client() (*http.Client, error) {
	cfg := &tls.Config{InsecureSkipVerify: p.SkipVerify} //nolint:gosec // as the configuration demands
	if p.CAFile != "" {
		text, err := os.ReadFile(p.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the authorities: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the authorities: %s has no certificate in PEM", p.CAFile)
		}
	}
	// The token is for this server only.
	stay := func(req *http.Request, _ []*http.Request) error {
		return fmt.Errorf("it sends elsewhere, to %s, which is not followed", req.URL.Host)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, CheckRedirect: stay}, nil
}

func (list *podList) listing() Listing {
	l := Listing{Containers: map[string]Named{}, Pods: map[string]Named{}}
	for i := range list.Items {
		p := &list.Items[i]
		n := Named{Pod: p.Metadata.Name, PodNamespace: p.Metadata.Namespace}
		for _, uid := range []string{p.Metadata.UID, p.Metadata.Annotations[configHash]} {
			if uid != "" {
				l.Pods[uid] = n
			}
		}
		for _, list := range [][]podContainer{p.Status.Init, p.Status.Containers, p.Status.Ephemeral} {
			for _, c := range list {
				n.Container = c.Name
				for _, id := range []string{c.ID, c.Last.Terminated.ID} {
					if _, id, ok := strings.Cut(id, "://"); ok {
						l.Containers[id] = n
					}
				}
			}
		}
	}
	return l
}
