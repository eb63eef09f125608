dd if=/dev/urandom of=/source/data bs=64k count=64 status=none
sha256sum /source/data >/source/sum
sync /source/data /source/sum
echo "written: $(cat /source/sum)"
