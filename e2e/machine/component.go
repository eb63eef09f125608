package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Module is a Go module of this project whose tools, as its go.mod lists them, are
// built for the cluster.
type Module struct {
	name string // in the cache folder
	dir  string
}

// Modules are apart from the driver's and from each other: their requirements do not go
// together, and each tool is to be built with what it was released with.
type Modules struct {
	checkout    string // the folder they are in
	kubernetes  Module
	provisioner Module
	addons      Module // the other sidecars, Helm, and what makes images
}

// findModules returns the modules of the checkout that the current folder is in.
func findModules() (Modules, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Modules{}, fmt.Errorf("find the checkout: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		sources := filepath.Join(at, "e2e", "cluster")
		switch there, err := isThere(filepath.Join(sources, "go.mod")); {
		case err != nil:
			return Modules{}, fmt.Errorf("find the checkout: %w", err)
		case there:
			return Modules{
				checkout:    at,
				kubernetes:  Module{"kubernetes", sources},
				provisioner: Module{"provisioner", filepath.Join(sources, "provisioner")},
				addons:      Module{"addons", filepath.Join(sources, "addons")},
			}, nil
		case at == filepath.Dir(at):
			return Modules{}, fmt.Errorf("the cluster is built from the sources below e2e/cluster: run this inside a checkout, not in %s", dir)
		}
	}
}

// goArguments are what every tool is built with: small, and free of this computer's paths.
var goArguments = []string{"build", "-v", "-trimpath", "-buildvcs=false"}

// goEnvironment makes programs that run in any root.
var goEnvironment = []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off"}

// run runs go in the module to its end with its output in log.
func (m Module) run(ctx context.Context, log string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), goEnvironment...)
	return tool(ctx, log, cmd)
}

// output runs go in the module and returns what it prints.
func (m Module) output(ctx context.Context, args ...string) (string, error) {
	return capture(ctx, "env", append(append(append([]string{"-C", m.dir}, goEnvironment...), "go"), args...)...)
}

// version returns the version of another module that this one requires.
func (m Module) version(ctx context.Context, path string) (string, error) {
	out, err := m.output(ctx, "list", "-m", "-f", "{{.Version}}", path)
	return strings.TrimSpace(out), err
}

// folder returns where the files of another module are, having fetched them.
func (m Module) folder(ctx context.Context, path string) (string, error) {
	if _, err := m.output(ctx, "mod", "download", path); err != nil {
		return "", err
	}
	out, err := m.output(ctx, "list", "-m", "-f", "{{.Dir}}", path)
	return strings.TrimSpace(out), err
}

// tools returns the folder with the module's tools, built if there is none.
func (m Module) tools(ctx context.Context, cache Cache) (string, error) {
	inputs := []any{goArguments, goEnvironment}
	sources, err := m.sources()
	if err != nil {
		return "", err
	}
	for _, source := range sources {
		data, err := os.ReadFile(source)
		if err != nil {
			return "", fmt.Errorf("read what the tools are built from: %w", err)
		}
		inputs = append(inputs, filepath.Base(source), string(data))
	}
	toolchain, err := m.output(ctx, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%s", m.name, key(append(inputs, toolchain)...))
	return cache.entry(ctx, name, func(ctx context.Context, dir string) error {
		return m.build(ctx, dir)
	})
}

// sources lists the files of this project that its tools depend on: the requirements, and
// the programs that lie in folders of the module. Tests are no part of a tool.
func (m Module) sources() ([]string, error) {
	all := []string{filepath.Join(m.dir, "go.mod"), filepath.Join(m.dir, "go.sum")}
	text, err := os.ReadFile(all[0])
	if err != nil {
		return nil, fmt.Errorf("read the tools' requirements: %w", err)
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(string(text), "module "), "\n")
	for line := range strings.Lines(string(text)) {
		own, ok := strings.CutPrefix(strings.TrimSpace(line), path+"/")
		if !ok {
			continue
		}
		files, err := filepath.Glob(filepath.Join(m.dir, own, "*.go"))
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

// build builds the module's tools into dir.
func (m Module) build(ctx context.Context, dir string) error {
	log := filepath.Join(dir, "build.log")
	latest := func() string { return strings.TrimSpace(lastLines(log, 1)) }
	if err := step(ctx, "fetch the sources of "+m.name, latest, func(ctx context.Context) error {
		return m.run(ctx, log, "mod", "download", "-x")
	}); err != nil {
		return err
	}
	listed, err := m.output(ctx, "list", "-f", "{{.ImportPath}} {{with .Module}}{{.Version}}{{end}}", "tool")
	if err != nil {
		return err
	}
	args := append([]string{}, goArguments...)
	for line := range strings.Lines(listed) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = append(args, "-ldflags="+path+"="+linkerFlags(version))
	}
	return step(ctx, "build "+m.name, latest, func(ctx context.Context) error {
		return m.run(ctx, log, append(args, "-o", dir+"/", "tool")...)
	})
}

// linkerFlags leave debugging information out, and tell a tool its version under each of
// the names that such tools look for it.
func linkerFlags(version string) string {
	flags := "-s -w"
	if version == "" { // of this project
		return flags
	}
	numbers := append(strings.Split(strings.TrimPrefix(version, "v"), "."), "", "")
	for _, name := range []string{
		"main.version=" + version,
		"helm.sh/helm/v3/internal/version.version=" + version,
		"k8s.io/component-base/version.gitVersion=" + version,
		"k8s.io/component-base/version.gitMajor=" + numbers[0],
		"k8s.io/component-base/version.gitMinor=" + numbers[1],
	} {
		flags += " -X " + name
	}
	return flags
}
