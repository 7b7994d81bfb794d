package main

import (
	"io"
	"strings"
	"testing"
)

func applied(lists ...string) (*mountOptions, error) {
	o := defaultMountOptions()
	cmd := mountCommand(&o)
	o.lists = lists
	return &o, o.applyLists(cmd.Flags())
}

func TestMountLists(t *testing.T) {
	o, err := applied("rw,dev,suid,pool=8GiB,allow_other,checksums=off,noexec", "extent=2M,require-direct,strict=true,nic=eth1,queues=2")
	if err != nil {
		t.Fatal(err)
	}
	if o.pool != 8<<30 || !o.allowOther || bool(o.checksums) || !o.noExec || o.extent != 2<<20 || !o.requireDirect || !o.strict ||
		o.nic != "eth1" || o.queues != 2 {
		t.Errorf("%+v", o)
	}
}

// TestMountListsOfOthers: what mount(8), mount.fuse3 and systemd add changes nothing.
func TestMountListsOfOthers(t *testing.T) {
	o, err := applied("", "defaults,ro,nosuid,nodev,relatime,_netdev,nofail,mand,nomand,iversion,noiversion,noauto,user,user=ann,comment=a b,x-systemd.automount,x-systemd.idle-timeout=5,X-any,")
	if err != nil {
		t.Fatal(err)
	}
	if before := defaultMountOptions(); o.pool != before.pool || o.noExec || o.allowOther || o.strict || o.foreground {
		t.Errorf("%+v", o)
	}
	if o, err := applied("noexec,exec"); err != nil || o.noExec {
		t.Errorf("noexec and then exec: %v, %v", o.noExec, err)
	}
}

func TestMountListsRefused(t *testing.T) {
	for list, word := range map[string]string{
		"frob":             `"frob"`,
		"ro,frob=3,pool=1": `"frob=3"`,
		"pool":             "pool=SIZE",
		"pool=much":        `"pool=much"`,
		"checksums=maybe":  "neither on nor off",
		"remount,ro":       "unmount it",
		"foreground":       `"foreground"`,
		"help":             `"help"`,
		"options=ro":       `"options=ro"`,
		"nosymfollow":      `"nosymfollow"`,
		"context=x":        `"context=x"`,
	} {
		if _, err := applied(list); err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), word) {
			t.Errorf("-o %s: %v, want an error that has %s", list, err, word)
		}
	}
}

// TestMountHelperNamespace: what mount(8) has its helper do by -N is refused.
func TestMountHelperNamespace(t *testing.T) {
	var stderr strings.Builder
	code := execute(t.Context(), newMountHelper("mount.hbmfs"), []string{"/src", "/mnt", "-N", "/proc/1/ns/mnt"}, io.Discard, &stderr)
	if code != exitUsage || !strings.Contains(stderr.String(), "nsenter") {
		t.Errorf("status %d: %s", code, &stderr)
	}
}

func FuzzMountLists(f *testing.F) {
	f.Add("rw,pool=8GiB,allow_other,x-a=b")
	f.Add("=,,=a,pool=,strict=2")
	f.Fuzz(func(t *testing.T, list string) {
		if _, err := applied(list); err != nil && exitCode(err) != exitUsage {
			t.Errorf("%q: %v is no error about the command line", list, err)
		}
	})
}
