package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestModulesAreFoundFromAnyFolderOfTheCheckout(t *testing.T) {
	want, err := findModules()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(want.addons.dir, "image"))
	if got, err := findModules(); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	t.Chdir(t.TempDir())
	if _, err := findModules(); err == nil {
		t.Error("found outside a checkout")
	}
}

// A tool is built anew when its requirements or a program of this project's change.
func TestSourcesOfTools(t *testing.T) {
	modules, err := findModules()
	if err != nil {
		t.Fatal(err)
	}
	sources, err := modules.addons.sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"go.mod", "go.sum", "image/main.go"} {
		if !strings.Contains(strings.Join(sources, "\n")+"\n", filepath.Join(modules.addons.dir, want)+"\n") {
			t.Errorf("%s is missing in %v", want, sources)
		}
	}
}

func TestLinkerFlagsTellTheVersion(t *testing.T) {
	if flags := linkerFlags("v1.36.3"); !strings.Contains(flags, "gitVersion=v1.36.3") || !strings.Contains(flags, "gitMinor=36") {
		t.Error(flags)
	}
	if flags := linkerFlags(""); strings.Contains(flags, "-X") {
		t.Error(flags)
	}
}
