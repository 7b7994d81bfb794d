package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"hbmfs/transport"
)

// mountOptions is the command line of mount.
type mountOptions struct {
	device        string
	pool, extent  byteSize
	transport     string
	requireDirect bool
	strict        bool
	connections   int
	checksums     onOff
	foreground    bool
	allowOther    bool
	dataPlaintext bool
	nic           string
	queues        int
	lendQueues    int
	tls           tlsFiles
}

const mountHelp = `Mount SOURCE at the directory MOUNTPOINT, read-only. SOURCE is one of

  HOST:PORT/NAME  the dataset NAME of a target ([::1]:7070/NAME for IPv6)
  HOST:PORT       all datasets of a target, a directory each
  PATH            a local file or directory, which the daemon serves itself;
                  it begins with / or ./, or exists

The command returns when the mount answers, or with the error. The daemon goes
on in the background, until 'hbmfs umount' or SIGTERM. Its log is

  /var/log/hbmfs-MOUNTPOINT.log                                  for root
  ${XDG_STATE_HOME:-~/.local/state}/hbmfs/MOUNTPOINT.log         for others

with MOUNTPOINT as systemd-escape writes it: /mnt/data is mnt-data. With
--foreground, the command stays, says "mounted SOURCE on MOUNTPOINT" on standard
output when the mount answers, and logs to standard error.

A mount that a killed daemon left at MOUNTPOINT is cleaned up first.`

func newMountCommand() *cobra.Command {
	o := mountOptions{pool: 1 << 30, extent: 1 << 20, checksums: true}
	cmd := &cobra.Command{
		Use:   "mount SOURCE MOUNTPOINT",
		Short: "Mount datasets of a target, or a local path",
		Long:  mountHelp,
		Example: `  hbmfs mount node7:7070/train /mnt/train
  hbmfs mount --pool 8GiB ./samples /mnt/samples
  hbmfs mount --transport devmem-tcp --nic eth1 --queues 2 --require-direct node7:7070/train /mnt/train`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMount(cmd.Context(), o, args[0], args[1], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.register(cmd)
	return cmd
}

func (o *mountOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.device, "device", "memfd", "`device` memory to fetch into; 'hbmfs doctor' lists them")
	f.Var(&o.pool, "pool", "device memory for each user, such as 8GiB")
	f.Var(&o.extent, "extent", "what files are fetched and kept in: a power of two, at least 4K")
	f.StringVar(&o.transport, "transport", transport.Auto, "`name`: auto, rdma, devmem-tcp, tcp or inproc; auto takes the most direct usable one")
	f.BoolVar(&o.requireDirect, "require-direct", false, "refuse a path that passes through host memory")
	f.BoolVar(&o.strict, "strict", false, "refuse to fetch files that a writer may have open (EAGAIN)")
	f.IntVar(&o.connections, "connections", 4, "data connections to the target; small plain reads may open as many again")
	f.Var(&o.checksums, "checksums", "crc32c on every payload, checked on arrival: on or off")
	f.BoolVar(&o.foreground, "foreground", false, "stay in the foreground and log to standard error")
	f.BoolVar(&o.allowOther, "allow-other", false, "let other users use the mount; permissions apply")
	f.StringVar(&o.nic, "nic", "", "network `interface` that devmem-tcp takes receive queues of; 'hbmfs doctor' tells which can")
	f.IntVar(&o.queues, "queues", 1, "receive queues that devmem-tcp takes, the last ones of --nic; the others stay everyone's")
	f.IntVar(&o.lendQueues, "lend-queues", 0, "how many more queues devmem-tcp takes for loans ('hbmfs read --loan'), each for one user at a time; needs --device udmabuf")
	f.BoolVar(&o.dataPlaintext, "data-plaintext", false, plaintextUsage)
	o.tls.register(f)
}

func (o *mountOptions) check() error {
	switch {
	case o.queues < 1:
		return usagef("--queues %d: at least one is needed", o.queues)
	case o.lendQueues < 0:
		return usagef("--lend-queues %d: none, or a number", o.lendQueues)
	case o.connections < 1:
		return usagef("--connections %d: at least one is needed", o.connections)
	case o.extent < 4096 || o.extent&(o.extent-1) != 0:
		return usagef("--extent %s: it must be a power of two, at least 4K", &o.extent)
	case o.pool < o.extent:
		return usagef("--pool %s is smaller than an extent of %s", &o.pool, &o.extent)
	}
	return nil
}

func runMount(ctx context.Context, o mountOptions, from, at string, stdout, stderr io.Writer) error {
	parent := inheritStart()
	err := mountHere(ctx, o, from, at, parent, stdout, stderr)
	parent.report(err)
	return err
}

// mountHere mounts, in this process or in a daemon that it starts.
func mountHere(ctx context.Context, o mountOptions, from, at string, parent *startPipe, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	src, err := parseSource(from)
	if err != nil {
		return err
	}
	place, err := resolvePlace(at)
	if err != nil {
		return err
	}
	if err := src.checkOutside(place); err != nil {
		return err
	}
	tlsConfig, err := o.tls.client()
	if err != nil {
		return err
	}
	if parent == nil && !o.foreground {
		return startDaemon(ctx, place)
	}
	if parent != nil {
		// All paths are absolute by now. The daemon keeps no other file system busy.
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	widen()
	m := &mounter{o: o, src: src, place: place, tls: tlsConfig, log: newLog(stderr)}
	return m.run(ctx, func() {
		parent.report(nil)
		if parent == nil {
			fmt.Fprintf(stdout, "mounted %s on %s\n", src, place)
		}
	})
}

// onOff is a flag that takes on or off.
type onOff bool

// Set implements [pflag.Value].
func (b *onOff) Set(s string) error {
	if s != "on" && s != "off" {
		return fmt.Errorf("%q is neither on nor off", s)
	}
	*b = s == "on"
	return nil
}

// Type implements [pflag.Value].
func (*onOff) Type() string { return "on|off" }

func (b *onOff) String() string {
	if *b {
		return "on"
	}
	return "off"
}
