package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hbmfs/cache/device"
	"hbmfs/cmd/hbmfs/internal/logfile"
	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/inproc"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
)

// mountOptions is the command line of mount.
type mountOptions struct {
	devices       []string
	pool, extent  size.Bytes
	overcommit    bool
	transport     string
	requireDirect bool
	exportDMABuf  bool
	strict        bool
	connections   int
	checksums     onOff
	foreground    bool
	log           string
	allowOther    bool
	nameTimeout   time.Duration
	noExec        bool     // by -o only
	lists         []string // of -o
	fake, sloppy  bool     // of mount(8)
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

with MOUNTPOINT as systemd-escape writes it: /mnt/data is mnt-data. Where that
can't be written, the log goes where others' goes, or to systemd's journal, or
nowhere, and the command says so. With --foreground, the command stays, says
"mounted SOURCE on MOUNTPOINT" on standard output when the mount answers, and
logs to standard error.

A mount that a killed daemon left at MOUNTPOINT is cleaned up first.

With mount(8) and fstab(5), the same options are given as a list, after those
that are mount(8)'s own; it is all one whether they have ro, nosuid and nodev,
since no mount is otherwise:

  node7:7070/train  /mnt/train  fuse.hbmfs  ro,allow_other,pool=8GiB,_netdev  0 0

Commas part options there: more than one device is device=memfd,device=udmabuf.

The type fuse.hbmfs (or the type fuse, and the source 'hbmfs#SOURCE') needs
Debian's fuse3, and hbmfs in /usr/local/bin or where else sh looks without a
PATH. The type hbmfs needs a symbolic link to hbmfs instead, /sbin/mount.hbmfs.
umount(8) ends such a mount as any other.

Of 32 digests and 512 plain reads under way, one user has no more than is left
for others, half while alone; more wait their turn. Of 1024 clients of the
control socket, one user may have 256, and of 64 MiB of host memory for what
is read ahead of sequential readers, 16 MiB.`

func defaultMountOptions() mountOptions {
	return mountOptions{pool: 1 << 30, extent: 1 << 20, checksums: true}
}

func newMountCommand() *cobra.Command {
	o := defaultMountOptions()
	return mountCommand(&o)
}

// mountCommand is the mount command, with its flags in o.
func mountCommand(o *mountOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mount SOURCE MOUNTPOINT",
		Short: "Mount datasets of a target, or a local path",
		Long:  mountHelp,
		Example: `  hbmfs mount node7:7070/train /mnt/train
  hbmfs mount --pool 8GiB ./samples /mnt/samples
  hbmfs mount --transport devmem-tcp --nic eth1 --queues 2 --require-direct node7:7070/train /mnt/train`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: o.run,
	}
	o.register(cmd)
	return cmd
}

func (o *mountOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.applyLists(cmd.Flags()); err != nil {
		return err
	}
	mount := func(ctx context.Context) error {
		return runMount(ctx, *o, args[0], args[1], cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	if o.foreground || isDaemon() {
		return mount(cmd.Context())
	}
	return supervise.Run(cmd.Context(), supervise.NoLimit, mount)
}

func (o *mountOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&o.lists, "options", "o", nil, "`list` of these options without their dashes, and of mount(8)'s: ro,allow_other,pool=8GiB")
	f.StringSliceVar(&o.devices, "device", []string{"memfd"}, "`list` of device memory to fetch into: device 0, device 1 and so on; 'hbmfs doctor' tells what there is")
	f.Var(&o.pool, "pool", "device memory for each user on each device, such as 8GiB")
	f.BoolVar(&o.overcommit, "overcommit-pool", false, "mount also if memory, or a control group's limit, can't hold the pool: warn only")
	f.Var(&o.extent, "extent", "what files are fetched and kept in: a power of two, at least 4K")
	f.StringVar(&o.transport, "transport", transport.Auto, "`name`: auto, rdma, devmem-tcp, tcp or inproc; auto takes the most direct usable one for each device")
	f.BoolVar(&o.exportDMABuf, "export-dmabuf", false, "let users have the dma-bufs of their device memory, to import into devices; they can write them")
	f.BoolVar(&o.requireDirect, "require-direct", false, "refuse a path that passes through host memory")
	f.BoolVar(&o.strict, "strict", false, "refuse to fetch what may have changed unnoticed (EAGAIN): a writer may have the file open, or the target does not answer")
	f.IntVar(&o.connections, "connections", 4, "data connections to the target; small plain reads may open as many again")
	f.Var(&o.checksums, "checksums", "crc32c on every payload, checked on arrival: on or off")
	f.BoolVar(&o.foreground, "foreground", false, "stay in the foreground and log to standard error")
	f.StringVar(&o.log, "log", "", "`file` to log to, instead of the usual one, or of standard error")
	f.DurationVar(&o.nameTimeout, "name-timeout", 0, "`duration` for which you vouch that names, owners and modes don't change at the source: they are believed for so long, and files that are still open at the target are opened without asking; by default a name is believed for a second, and by no open but where the target has delegated it")
	f.BoolVar(&o.allowOther, "allow-other", false, "let other users use the mount; permissions apply")
	f.StringVar(&o.nic, "nic", "", "network `interface` that devmem-tcp takes receive queues of; 'hbmfs doctor' tells which can")
	f.IntVar(&o.queues, "queues", 1, "receive queues that devmem-tcp takes, the last ones of --nic; the others stay everyone's")
	f.IntVar(&o.lendQueues, "lend-queues", 0, "how many more queues devmem-tcp takes for loans ('hbmfs read --loan'), each for one user at a time; needs --device udmabuf")
	f.BoolVar(&o.dataPlaintext, "data-plaintext", false, plaintextUsage)
	o.tls.register(f)
}

// maxQueues is more receive queues than any network interface can have.
const maxQueues = 1 << 16

var transportNames = []string{transport.Auto, rdma.Name, devmemtcp.Name, tcp.Name, inproc.Name}

func (o *mountOptions) check() error {
	switch {
	case !slices.Contains(transportNames, o.transport):
		return usagef("--transport %q: there are %s", o.transport, strings.Join(transportNames, ", "))
	case o.connections < 1 || o.connections > tcp.MaxConnections:
		return usagef("--connections %d: give 1 to %d", o.connections, tcp.MaxConnections)
	case o.queues < 1 || o.queues > maxQueues:
		return usagef("--queues %d: give 1 to %d", o.queues, maxQueues)
	case o.lendQueues < 0 || o.lendQueues > maxQueues:
		return usagef("--lend-queues %d: give 0 to %d", o.lendQueues, maxQueues)
	case o.nic == "" && (o.queues > 1 || o.lendQueues > 0):
		return usagef("--queues and --lend-queues need --nic, which they are of")
	case o.nameTimeout != 0 && o.nameTimeout < time.Second:
		return usagef("--name-timeout %v: names are believed for a second anyway; give that or more", o.nameTimeout)
	case o.extent < 4096 || o.extent&(o.extent-1) != 0:
		return usagef("--extent %s: it must be a power of two, at least 4K", &o.extent)
	case o.pool < o.extent:
		return usagef("--pool %s is smaller than an extent of %s", &o.pool, &o.extent)
	case len(o.devices) < 1 || len(o.devices) > uapi.MaxDevices:
		return usagef("--device: name 1 to %d devices, not %d", uapi.MaxDevices, len(o.devices))
	}
	for _, name := range o.devices {
		if _, err := device.Open(name); err != nil {
			return usagef("--device %q: %v", name, err)
		}
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
	tlsConfig, err := o.tls.config()
	if err != nil {
		return err
	}
	src, err := parseSource(from)
	if err != nil {
		return err
	}
	place, err := mounts.Resolve(at)
	if err != nil {
		return err
	}
	if err := src.checkOutside(place); err != nil {
		return err
	}
	devices, err := o.pools(stderr)
	if err != nil || o.fake {
		return err
	}
	if parent == nil && (!o.foreground || o.log != "") {
		log, err := logfile.Open(o.log, place, stderr)
		if err != nil {
			return err
		}
		defer log.Close()
		if !o.foreground {
			return startDaemon(ctx, log)
		}
		stderr = log
	}
	if parent != nil {
		// All paths are absolute by now. The daemon keeps no other file system busy.
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	widen()
	m := &mounter{o: o, src: src, place: place, tls: tlsConfig, devices: devices, log: newLog(stderr)}
	return m.run(ctx, func() {
		parent.report(nil)
		if parent == nil {
			fmt.Fprintf(stdout, "mounted %s on %s\n", shownText(src.String()), shownText(place))
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
