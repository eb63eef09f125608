package main

import "testing"

func TestQuantity(t *testing.T) {
	for text, want := range map[string]quantity{"1": 1, "20Gi": 20 << 30, "20G": 20e9, "5k": 5000, "512Mi": 512 << 20, "7Pi": 7 << 50} {
		var got quantity
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%s is %d, %v", text, got, err)
		}
		if got.String() != text && text != "20G" && text != "5k" {
			t.Errorf("%s is written %s", text, &got)
		}
	}
	for _, text := range []string{"", "0", "-1Gi", "Gi", "1.5Gi", "20GB", "20g", "20 Gi", "9999999Pi", "20iG", "1GiGi"} {
		var got quantity
		if err := got.Set(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}
