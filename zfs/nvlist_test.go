package zfs

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// recordedAnswer is what OpenZFS 2.3 answered to the program: return {-7, {x = "y", z = false, e = {}}, "end"}.
const recordedAnswer = "000100000000000001000000" +
	"3000000007000000010000001300000072657475726e00000000000001000000" + "00000000000000000000000000000000" + // return
	"2000000002000000010000000700000031000000" + "00000000f9ffffffffffffff" + // 1
	"3000000002000000010000001300000032000000" + "00000000000000000100000000000000000000000000000000000000" + // 2
	"2000000002000000010000000900000078000000" + "000000007900000000000000" + // x
	"3000000002000000010000001300000065000000" + "00000000000000000100000000000000000000000000000000000000" + "00000000" + // e, and its end
	"200000000200000001000000150000007a000000" + "000000000000000000000000" + "00000000" + // z, and the end of 2
	"2000000002000000010000000900000033000000" + "00000000656e640000000000" + "00000000" + "00000000" // 3

func littleEndian(t *testing.T) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the answer was recorded on a machine of another byte order")
	}
}

func TestUnpackNVList(t *testing.T) {
	littleEndian(t)
	recorded, err := hex.DecodeString(recordedAnswer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpackNVList(recorded)
	want := map[string]any{"return": map[string]any{
		"1": int64(-7), "2": map[string]any{"x": "y", "z": false, "e": map[string]any{}}, "3": "end",
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("it is %v, %v; want %v", got, err, want)
	}
	for end := range recorded {
		if got, err := unpackNVList(recorded[:end]); !errors.Is(err, errNVList) {
			t.Errorf("the first %d bytes of it are %v, %v", end, got, err)
		}
	}
	// Whatever the bytes are, they are read or refused.
	for at := range recorded {
		for _, b := range []byte{0, 1, 0x7f, 0xff} {
			changed := slices.Clone(recorded)
			changed[at] = b
			_, _ = unpackNVList(changed)
		}
	}
}

func TestPackNVList(t *testing.T) {
	want := map[string]any{"program": "return 1", "arg": false, "sync": true, "instrlimit": uint64(1<<64 - 1), "": "", "eight ch": "eight ch"}
	var pairs []pair
	for _, name := range slices.Sorted(maps.Keys(want)) {
		pairs = append(pairs, pair{name, want[name]})
	}
	pairs = append(pairs, pair{"type", int32(-3)}, pair{"snaps", []pair{{"tank/a@s", nil}, {"tank/b@s", nil}}}, pair{"none", []pair(nil)}, pair{"after", uint64(7)})
	maps.Copy(want, map[string]any{
		"type": int32(-3), "snaps": map[string]any{"tank/a@s": nil, "tank/b@s": nil}, "none": map[string]any{}, "after": uint64(7),
	})
	packed := packNVList(pairs...)
	if got, err := unpackNVList(packed); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%x is unpacked as %v, %v; want %v", packed, got, err, want)
	}
}
