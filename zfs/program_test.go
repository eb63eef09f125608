package zfs

import "testing"

func TestLua(t *testing.T) {
	for text, want := range map[string]string{
		"tank/csi/a@s-1":  `"tank/csi/a@s-1"`,
		"a\"b\\c\nd":      `"a\034b\092c\010d"`,
		"é\x00]]":         `"\195\169\000\093\093"`,
		`") os.exit() --`: `"\034\041 os.exit\040\041 --"`,
	} {
		if got := luaString(text); got != want {
			t.Errorf("%q becomes %s, want %s", text, got, want)
		}
	}
	if got := luaList("a", "b"); got != `{"a","b"}` {
		t.Errorf("a table becomes %s", got)
	}
}
