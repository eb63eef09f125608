package zfs

import (
	"fmt"
	"strings"
)

// luaString returns a text as a literal of Lua, whatever is in it.
func luaString(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.:/@=%,+ ", c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, `\%03d`, c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// luaList returns texts as a table of Lua.
func luaList(items ...string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = luaString(s)
	}
	return "{" + strings.Join(quoted, ",") + "}"
}
