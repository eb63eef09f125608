package zfs

import "strconv"

var (
	bothKinds      = []Kind{Filesystem, Block}
	filesystemOnly = []Kind{Filesystem}
	blockOnly      = []Kind{Block}
	onOff          = []string{"on", "off"}
	caches         = []string{"all", "none", "metadata"}
)

// allowList holds the properties a user may set, from zfsprops(7) of OpenZFS 2.1 to
// 2.4. A version that lacks a property or value refuses it by itself: blake3 and
// the words "some" and "none" of redundant_metadata, and a recordsize above 1 MiB, need 2.2; direct, prefetch and
// snapdir=disabled need 2.3.
var allowList = map[Property]rule{
	"compression": {
		kinds: bothKinds,
		words: compressionWords(),
		// These levels are what the bare word stands for, and are printed so.
		aliases: map[string]string{"gzip-6": "gzip", "zstd-fast-1": "zstd-fast"},
		text:    "on, off, lz4, lzjb, zle, gzip, gzip-1 to -9, zstd, zstd-1 to -19, zstd-fast, zstd-fast-1 to -10, -20 to -100 by tens, -500, -1000",
	},
	"checksum": {kinds: bothKinds, words: []string{"on", "off", "fletcher2", "fletcher4", "sha256", "sha512", "skein", "edonr", "blake3"}},
	"dedup": {kinds: bothKinds, words: []string{
		"on", "off", "verify", "sha256", "sha256,verify", "sha512", "sha512,verify",
		"skein", "skein,verify", "edonr,verify", "blake3", "blake3,verify",
	}},
	"copies":             {kinds: bothKinds, words: []string{"1", "2", "3"}},
	"sync":               {kinds: bothKinds, words: []string{"standard", "always", "disabled"}},
	"logbias":            {kinds: bothKinds, words: []string{"latency", "throughput"}},
	"primarycache":       {kinds: bothKinds, words: caches},
	"secondarycache":     {kinds: bothKinds, words: caches},
	"prefetch":           {kinds: bothKinds, words: caches},
	"redundant_metadata": {kinds: bothKinds, words: []string{"all", "most", "some", "none"}},

	"volblocksize": {kinds: blockOnly, creationOnly: true, min: 512, max: 128 << 10},

	"recordsize": {kinds: filesystemOnly, min: 512, max: 16 << 20},
	// Also a property of zvols since 2.4, which older versions do not know.
	"special_small_blocks": {kinds: filesystemOnly, min: 512, max: 1 << 20, zero: true},
	"atime":                {kinds: filesystemOnly, words: onOff},
	"relatime":             {kinds: filesystemOnly, words: onOff},
	"direct":               {kinds: filesystemOnly, words: []string{"disabled", "standard", "always"}},
	"dnodesize":            {kinds: filesystemOnly, words: []string{"legacy", "auto", "1k", "2k", "4k", "8k", "16k"}},
	"snapdir":              {kinds: filesystemOnly, words: []string{"disabled", "hidden", "visible"}},
	// Not "on": it means dir before 2.3 and sa since, and is what either then prints for it.
	"xattr":      {kinds: filesystemOnly, words: []string{"off", "dir", "sa"}},
	"acltype":    {kinds: filesystemOnly, words: []string{"off", "posix"}, aliases: map[string]string{"posixacl": "posix", "noacl": "off", "disabled": "off"}},
	"aclmode":    {kinds: filesystemOnly, words: []string{"discard", "groupmask", "passthrough", "restricted"}},
	"aclinherit": {kinds: filesystemOnly, words: []string{"discard", "noallow", "restricted", "passthrough", "passthrough-x"}, aliases: map[string]string{"secure": "restricted"}},

	"casesensitivity": {kinds: filesystemOnly, creationOnly: true, words: []string{"sensitive", "insensitive", "mixed"}},
	"normalization":   {kinds: filesystemOnly, creationOnly: true, words: []string{"none", "formC", "formD", "formKC", "formKD"}},
	"utf8only":        {kinds: filesystemOnly, creationOnly: true, words: onOff},
}

// refused says of properties that people try what to do in their stead.
var refused = map[string]string{
	// OpenZFS on Linux turns these into mount flags only when it mounts by itself,
	// never for mountpoint=legacy: set here they would silently do nothing.
	"exec":    "volumes are mounted with the mount options of the volume; use the mount option noexec",
	"setuid":  "volumes are mounted with the mount options of the volume; use the mount option nosuid",
	"devices": "volumes are mounted with the mount options of the volume; use the mount option nodev",

	"quota":          "the volume's size is kept as refquota; quota would charge snapshots to the volume",
	"refquota":       "it is the volume's size",
	"volsize":        "it is the volume's size",
	"reservation":    "the space of a thick volume is reserved by refreservation",
	"refreservation": "it is set for thick volumes",
	"readonly":       "a volume is mounted read-only where that is asked for",
	"mountpoint":     "where a volume is mounted is up to the driver",
	"canmount":       "where a volume is mounted is up to the driver",
	"volmode":        "it is always dev, so that the host does not scan a volume for partitions",
	"snapdev":        "it is always hidden",
	"encryption":     "volumes with keys of their own are not offered; encrypt the parent",
}

// compressionWords returns the values of compression as ZFS prints them.
func compressionWords() []string {
	words := []string{"on", "off", "lz4", "lzjb", "zle", "gzip", "zstd", "zstd-fast"}
	level := func(prefix string, from, to, step int) {
		for n := from; n <= to; n += step {
			words = append(words, prefix+strconv.Itoa(n))
		}
	}
	level("gzip-", 1, 5, 1)
	level("gzip-", 7, 9, 1)
	level("zstd-", 1, 19, 1)
	level("zstd-fast-", 2, 10, 1)
	level("zstd-fast-", 20, 100, 10)
	return append(words, "zstd-fast-500", "zstd-fast-1000")
}
