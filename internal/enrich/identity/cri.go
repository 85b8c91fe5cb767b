package identity

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// errNoCRI is that of a containerd that runs containers for others than
// Kubernetes: Docker's has no CRI.
var errNoCRI = errors.New("it does not speak the CRI")

// listCRI asks a runtime of Kubernetes: containerd, CRI-O.
func listCRI(ctx context.Context, path string) (l Listing, err error) {
	// gRPC has words only for why nobody can be reached.
	probe, err := dial(ctx, path)
	if err != nil {
		return l, err
	}
	probe.Close()
	conn, err := grpc.NewClient("passthrough:runtime", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, path) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	resp, err := cri.NewRuntimeServiceClient(conn).ListContainers(ctx, &cri.ListContainersRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return l, errNoCRI
	case err != nil:
		return l, fmt.Errorf("list its containers: %w", err)
	}
	for _, c := range resp.GetContainers() {
		l.add(c.GetId(), c.GetMetadata().GetName(), c.GetLabels())
	}
	return l, nil
}
