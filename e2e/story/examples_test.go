package story

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// TestExamples: each example does what it says, file by file, and all of it can be removed as its README says.
func TestExamples(t *testing.T) {
	all, err := filepath.Glob("../../manifests/examples/*/*.yaml")
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	examples := map[string][]string{} // The files of each folder, in their order.
	for _, file := range all {
		examples[filepath.Dir(file)] = append(examples[filepath.Dir(file)], file)
	}
	for folder, files := range examples {
		name := filepath.Base(folder)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := "example-" + name
			if name == "cloning" {
				namespace = documented // as its files say
			}
			c := newCluster(t, namespace)
			t.Cleanup(func() {
				c.kubectl("delete", "--ignore-not-found", "--timeout="+patience.String(), "-f", folder)
			})
			for _, file := range files {
				c.kubectl("apply", "-f", file)
				c.done(file)
			}
		})
	}
}

// done waits until the objects of a file are what they are to become: jobs have succeeded, pods are ready, claims are bound.
func (c *cluster) done(file string) {
	c.Helper()
	var list struct{ Items []json.RawMessage }
	out := c.kubectl("get", "-o", "json", "-f", file)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		c.Fatal(err)
	}
	if list.Items == nil { // of a single object there is no list
		list.Items = []json.RawMessage{json.RawMessage(out)}
	}
	for _, item := range list.Items {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct{ VolumeAttributesClassName string }
		}
		if err := json.Unmarshal(item, &object); err != nil {
			c.Fatal(err)
		}
		switch name := object.Kind + "/" + object.Metadata.Name; object.Kind {
		case "Job":
			c.wait(name, "condition=Complete")
		case "Pod":
			c.wait(name, ready)
		case "StatefulSet":
			c.kubectl("rollout", "status", name, "--timeout="+patience.String())
		case "VolumeSnapshot", "VolumeGroupSnapshot":
			c.wait(name, usable)
		case "PersistentVolumeClaim":
			c.wait(name, "jsonpath={.status.phase}=Bound")
			if class := object.Spec.VolumeAttributesClassName; class != "" {
				c.wait(name, "jsonpath={.status.currentVolumeAttributesClassName}="+class)
			}
		}
	}
}
