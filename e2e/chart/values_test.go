package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// free are the values whose keys are Kubernetes' own or a person's.
var free = []string{
	"affinity", "nodeSelector", "podAnnotations", "podLabels", "tolerations.0", "updateStrategy.rollingUpdate", "requests", "annotations", "labels",
}

// walk calls f with each map of values and each leaf, by its path with dots; the indices of lists are in brackets.
func walk(path string, value any, f func(path string, isMap bool)) {
	switch value := value.(type) {
	case map[string]any:
		f(path, true)
		for key, v := range value {
			walk(strings.TrimPrefix(path+"."+key, "."), v, f)
		}
	case []any:
		if len(value) == 0 {
			f(path, false)
		}
		for _, v := range value[:min(1, len(value))] {
			walk(path+"[0]", v, f)
		}
	default:
		f(path, false)
	}
}

func isFree(path string) bool {
	return slices.ContainsFunc(free, func(name string) bool {
		name = strings.ReplaceAll(name, ".0", "[0]")
		return path == name || strings.HasSuffix(path, "."+name)
	})
}

// TestSchema: a key that is not a value is refused, wherever it stands, and so are values that cannot be meant.
func TestSchema(t *testing.T) {
	refused := func(set, words string) {
		t.Helper()
		_, err := helm(t, "template", "zfs-csi", chartDir, "--set", "pool.file.enabled=true", "--set-json", set)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: helm says %v, want %q", set, err, words)
		}
	}
	walk("", values(t), func(path string, isMap bool) {
		// Of a list, what is set replaces all; a class needs its name.
		if !isMap || isFree(path) || strings.Contains(path, "[0]") {
			return
		}
		refused(strings.TrimPrefix(path+".surprise=1", "."), "additional properties 'surprise' not allowed")
	})
	refused(`storageClasses=[{"name": "a", "surprise": 1}]`, "additional properties 'surprise' not allowed")
	refused(`storageClasses=[{"name": "a", "parameters": {"surprise": "1"}}]`, "additional properties 'surprise' not allowed")
	refused(`storageClasses=[{"name": "a", "parameters": {"zfs.atime": false}}]`, "got boolean, want string")
	refused(`storageClasses=[{"parent": "tank/csi"}]`, "missing property 'name'")
	refused(`volumeAttributesClasses=[{"name": "a", "parameters": {"parent": "tank/csi"}}]`, "additional properties 'parent' not allowed")
	refused(`parents=["/tank/csi"]`, "does not match pattern")
	refused(`pool.file.path="/pool.img"`, "does not match pattern")
	refused(`pool.file.path="/var/../pool.img"`, "'not' failed")
	refused(`pool.file.path="/run/zfs-csi/pool.img"`, "'not' failed")
	refused(`pool.file.path="/var/tmp/pool.img"`, "'not' failed")
	refused(`pool.file.size="much"`, "does not match pattern")
	refused(`pool.file.size=0`, "minimum")
	refused(`driver.log.level="loud"`, "must be one of")
	refused(`image.digest="sha256:12"`, "does not match pattern")
}

// TestValuesAreDocumented: the chart's README tells of every value.
func TestValuesAreDocumented(t *testing.T) {
	readme := read(t, filepath.Join(chartDir, "README.md"))
	walk("", values(t), func(path string, isMap bool) {
		path, _, _ = strings.Cut(path, "[0]")
		if path == "" || isMap {
			return
		}
		for prefix := path; ; prefix = prefix[:strings.LastIndexByte(prefix, '.')] {
			if strings.Contains(readme, "`"+prefix+"`") || strings.Contains(readme, "`"+prefix+".*`") {
				return
			}
			if !strings.Contains(prefix, ".") {
				t.Errorf("README.md does not tell of %s", path)
				return
			}
		}
	})
}

// TestDriverKnows: every flag and every variable that the chart gives the driver is one of its own.
func TestDriverKnows(t *testing.T) {
	binary := os.Getenv(binaryVariable)
	if binary == "" {
		t.Skipf("%s is not set: the driver is needed, see `make help`", binaryVariable)
	}
	objects := append(render(t, variants["both"]...), render(t, variants["distributed"]...)...)
	help := map[string]string{}
	for _, command := range []string{"serve", "init", "check"} {
		out, err := exec.CommandContext(t.Context(), binary, command, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		help[command] = string(out)
	}
	all := help["serve"] + help["init"] + help["check"]
	name := regexp.MustCompile(`^--[a-z-]+`)
	for _, o := range objects {
		if o.text("kind") != "DaemonSet" {
			continue
		}
		for _, c := range o.list("spec", "template", "spec", "containers") {
			if c.text("name") != "zfs-csi" {
				continue
			}
			command := c.text("args", 0)
			for _, arg := range c["args"].([]any)[1:] {
				if flag := name.FindString(arg.(string)); flag != "" && !strings.Contains(help[command], "  "+flag+" ") {
					t.Errorf("zfs-csi %s does not know %s", command, flag)
				}
			}
			for _, variable := range c.list("env") {
				if !strings.Contains(all, variable.text("name")) {
					t.Errorf("zfs-csi does not know %s", variable.text("name"))
				}
			}
		}
	}
}
