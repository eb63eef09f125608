package zfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// An nvlist is what ZFS's kernel module is told and what it answers: names with values that have types. Its native
// form, in the byte order of this machine, is that of module/nvpair/nvpair.c and include/sys/nvpair.h of OpenZFS.

// dataType is data_type_t.
type dataType int32

// The types that calls take and return; a number of Lua is an int64.
const (
	typeBoolean      dataType = 1 // It is there: nil of Lua.
	typeInt32        dataType = 5
	typeInt64        dataType = 7
	typeUint64       dataType = 8
	typeString       dataType = 9
	typeNVList       dataType = 19
	typeBooleanValue dataType = 21
)

const (
	nvlistHead  = 4 + 8 // nvs_header_t, and the version and flags of the outermost list
	nvlistSize  = 24    // nvlist_t, in place of a value
	nvpairHead  = 16    // nvpair_t
	nvpairAlign = 8
	uniqueNames = 1 // NV_UNIQUE_NAME
)

var errNVList = errors.New("it is no nvlist in the form known")

// pair is one name with its value: a string, uint64, int32, bool, nil for one that only is there, or a list of pairs.
type pair struct {
	name  string
	value any
}

// packNVList returns the native form of a list.
func packNVList(pairs ...pair) []byte {
	order := binary.NativeEndian
	out := []byte{0, order.AppendUint16(nil, 1)[0], 0, 0} // NV_ENCODE_NATIVE, and 1 where the lowest byte is first
	out = order.AppendUint32(out, 0)                      // NV_VERSION
	out = order.AppendUint32(out, uniqueNames)
	return appendPairs(out, pairs)
}

// appendPairs appends the pairs and the end of a list. The pairs of a list in it follow the one that it is the value of.
func appendPairs(out []byte, pairs []pair) []byte {
	order := binary.NativeEndian
	for _, p := range pairs {
		var kind dataType
		var value []byte
		elements, inner := uint32(1), []pair(nil)
		switch v := p.value.(type) {
		case nil:
			kind, elements = typeBoolean, 0
		case string:
			kind, value = typeString, append([]byte(v), 0)
		case uint64:
			kind, value = typeUint64, order.AppendUint64(nil, v)
		case int32:
			kind, value = typeInt32, order.AppendUint32(nil, uint32(v)) //nolint:gosec // Bit by bit.
		case bool:
			kind, value = typeBooleanValue, order.AppendUint32(nil, map[bool]uint32{true: 1}[v])
		case []pair:
			kind, inner = typeNVList, v
			value = order.AppendUint32(order.AppendUint32(nil, 0), uniqueNames)
			value = append(value, make([]byte, nvlistSize-len(value))...)
		default:
			panic(fmt.Sprintf("no nvlist has a %T", v)) // The callers are in this package.
		}
		at := aligned(nvpairHead + len(p.name) + 1)
		packed := make([]byte, aligned(at+len(value)))
		order.PutUint32(packed, uint32(len(packed)))       //nolint:gosec // Programs have some kilobytes.
		order.PutUint16(packed[4:], uint16(len(p.name)+1)) //nolint:gosec // So short are names.
		order.PutUint32(packed[8:], elements)
		order.PutUint32(packed[12:], uint32(kind)) //nolint:gosec // It is not negative.
		copy(packed[nvpairHead:], p.name)
		copy(packed[at:], value)
		out = append(out, packed...)
		if kind == typeNVList {
			out = appendPairs(out, inner)
		}
	}
	return order.AppendUint32(out, 0)
}

func aligned(n int) int { return (n + nvpairAlign - 1) &^ (nvpairAlign - 1) }

// unpackNVList returns what a list holds by its names: strings, int32, int64, uint64, bool, nil, and such maps.
func unpackNVList(b []byte) (map[string]any, error) {
	if len(b) < nvlistHead || b[0] != 0 || b[1] != binary.NativeEndian.AppendUint16(nil, 1)[0] {
		return nil, errNVList
	}
	out, _, err := unpackPairs(b[nvlistHead:])
	return out, err
}

// unpackPairs returns what is up to the end of a list, and what follows it. The pairs of a list in
// a list follow the one that it is the value of.
func unpackPairs(b []byte) (out map[string]any, rest []byte, err error) {
	order := binary.NativeEndian
	out = map[string]any{}
	for {
		if len(b) < 4 {
			return nil, nil, errNVList
		}
		size := int(order.Uint32(b))
		if size == 0 {
			return out, b[4:], nil
		}
		if size < nvpairHead || size > len(b) {
			return nil, nil, errNVList
		}
		p := b[:size]
		b = b[size:]
		named := nvpairHead + int(order.Uint16(p[4:]))
		at := aligned(named)
		if named == nvpairHead || at > size {
			return nil, nil, errNVList
		}
		name := string(p[nvpairHead : named-1])
		switch kind, value := dataType(order.Uint32(p[12:])), p[at:]; { //nolint:gosec // What is unknown is refused.
		case kind == typeBoolean:
			out[name] = nil
		case kind == typeBooleanValue && len(value) >= 4:
			out[name] = order.Uint32(value) != 0
		case kind == typeInt32 && len(value) >= 4:
			out[name] = int32(order.Uint32(value)) //nolint:gosec // It is one.
		case kind == typeInt64 && len(value) >= 8:
			out[name] = int64(order.Uint64(value)) //nolint:gosec // It is one.
		case kind == typeUint64 && len(value) >= 8:
			out[name] = order.Uint64(value)
		case kind == typeString && bytes.IndexByte(value, 0) >= 0:
			out[name] = string(value[:bytes.IndexByte(value, 0)])
		case kind == typeNVList && len(value) >= nvlistSize:
			if out[name], b, err = unpackPairs(b); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("%q is of type %d, in %d bytes: %w", name, kind, len(value), errNVList)
		}
	}
}
