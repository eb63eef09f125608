sum() { sha256sum <"$1"; }
written=$(cut -d ' ' -f 1 /source/sum)
cmp /source/data /clone/data
[ "$(sum /clone/data)" = "$written  -" ] || { echo "the clone does not hold what was written" >&2; exit 1; }
echo "the clone holds what was written: $written"

echo changed >/clone/data
[ "$(sum /source/data)" = "$written  -" ] || { echo "the source has changed with its clone" >&2; exit 1; }
echo other >/source/sum
[ "$(cat /clone/sum)" != other ] || { echo "the clone has changed with its source" >&2; exit 1; }
echo "neither sees what is written to the other"
