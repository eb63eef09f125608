package zfs

// HideDev has the store take another folder for /dev.
func HideDev(l *Local, dev string) { l.devices.dev = dev }
