package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"hbmfs/cmd/hbmfs/internal/mounts"
)

// notInLists are flags that make no sense in a list of options.
var notInLists = []string{"help", "options", "foreground", "fake", "sloppy", "no-mtab", "verbose", "types", "namespace"}

// applyLists sets flags by lists of options as mount(8) has them: NAME or
// NAME=VALUE, with commas between. A name may have _ for -, and no value has a
// comma. What is unknown is an error, unless sloppy.
func (o *mountOptions) applyLists(flags *pflag.FlagSet) error {
	for _, list := range o.lists {
		for item := range strings.SplitSeq(list, ",") {
			if err := o.applyItem(flags, item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *mountOptions) applyItem(flags *pflag.FlagSet, item string) error {
	name, value, hasValue := strings.Cut(item, "=")
	switch {
	case item == "noexec" || item == "exec":
		o.noExec = item == "noexec"
		return nil
	case item == "remount":
		return usagef("a mount can't be changed: unmount it, and mount it again with other options")
	case mounts.IsMoot(item):
		return nil
	}
	name = strings.ReplaceAll(name, "_", "-")
	flag := flags.Lookup(name)
	switch {
	case (flag == nil || slices.Contains(notInLists, name)) && o.sloppy:
		return nil
	case flag == nil || slices.Contains(notInLists, name):
		return usagef("unknown mount option %q; 'hbmfs mount --help' lists them", item)
	case !hasValue && flag.NoOptDefVal == "":
		return usagef("mount option %s needs a value: %s=%s", name, name, strings.ToUpper(flag.Value.Type()))
	case !hasValue:
		value = flag.NoOptDefVal
	}
	if err := flag.Value.Set(value); err != nil {
		return usagef("mount option %q: %v", item, err)
	}
	return nil
}
