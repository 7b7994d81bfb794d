package mounts

import (
	"slices"
	"strings"
)

// moot are options of mount(8) and fstab(5) that say what is so anyway, what
// makes no difference without writing, or what is for mount(8) and systemd.
// mount(8) passes rw, and mount.fuse3 dev and suid, unless told otherwise.
var moot = []string{
	"defaults", "ro", "rw", "nosuid", "suid", "nodev", "dev", "default_permissions",
	"async", "sync", "dirsync", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime",
	"strictatime", "nostrictatime", "lazytime", "nolazytime", "silent", "loud",
	"mand", "nomand", "iversion", "noiversion",
	"auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev",
}

// mootKeys are the same, with values.
var mootKeys = []string{"user", "comment", "uhelper"}

// IsMoot reports whether an option of mount(8) or fstab(5) makes no difference.
func IsMoot(item string) bool {
	name, _, hasValue := strings.Cut(item, "=")
	return item == "" || slices.Contains(moot, item) || hasValue && slices.Contains(mootKeys, name) ||
		strings.HasPrefix(item, "x-") || strings.HasPrefix(item, "X-")
}
