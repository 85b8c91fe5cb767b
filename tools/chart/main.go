// Command chart packs netfate's Helm chart for a version, after Helm's own linter and
// Kubernetes' own types have found nothing wrong with it and with what it renders, and prints
// what it renders in a namespace of its own, for those who have no Helm.
//
//	chart CHART VERSION DIRECTORY > netfate.yaml
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// kubeVersion is the oldest that the chart is for.
const kubeVersion = "v1.30.0"

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: chart CHART VERSION DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, dir, version, to string) error {
	if err := linted(dir); err != nil {
		return err
	}
	c, err := loader.Load(dir)
	if err != nil {
		return err
	}
	c.Metadata.Version, c.Metadata.AppVersion = version, version
	texts, err := render(c, nil)
	if err != nil {
		return err
	}
	if _, err := decode(texts); err != nil {
		return err
	}
	if _, err := chartutil.Save(c, to); err != nil {
		return err
	}
	_, err = io.WriteString(out, namespace+strings.Join(texts, ""))
	return err
}

// namespace is where pods may have what netfate needs.
const namespace = `apiVersion: v1
kind: Namespace
metadata:
  name: netfate
  labels:
    pod-security.kubernetes.io/enforce: privileged
`

// linted has Helm judge the chart, warnings included.
func linted(dir string) error {
	kube, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		return err
	}
	var bad []error
	for _, m := range lint.AllWithKubeVersion(dir, nil, "default", kube).Messages {
		if m.Severity >= support.WarningSev {
			bad = append(bad, m)
		}
	}
	return errors.Join(bad...)
}

// render returns the chart's manifests for some values, in the order of their files.
func render(c *chart.Chart, values map[string]any) ([]string, error) {
	capabilities := chartutil.DefaultCapabilities.Copy()
	kube, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		return nil, err
	}
	capabilities.KubeVersion = *kube
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "netfate", Namespace: "netfate", IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(files[name]) != "" {
			texts = append(texts, "---\n"+strings.TrimSpace(files[name])+"\n")
		}
	}
	return texts, nil
}

// decode reads manifests as the API server does, but refuses what it does not know.
func decode(texts []string) ([]runtime.Object, error) {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for _, text := range texts {
		o, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%w, in\n%s", err, text)
		}
		objects = append(objects, o)
	}
	return objects, nil
}
