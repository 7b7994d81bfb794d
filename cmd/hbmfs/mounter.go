package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"hbmfs/cache"
	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs"
	"hbmfs/remote"
	"hbmfs/remote/server"
	"hbmfs/remote/server/store/dir"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
)

// ioTimeout bounds how long a peer may make no progress, and so how long a
// fetch or a plain read waits for a target that is gone.
const ioTimeout = remote.DefaultTimeout

// localDataset is the name of the embedded target's one dataset.
const localDataset = "local"

// mounter ties the rooms together and takes them apart again, in order.
type mounter struct {
	o     mountOptions
	src   source
	place string
	tls   *tls.Config
	log   *slog.Logger
	lend  lendMemory

	devices []cache.Device

	transports []transport.Candidate
}

// run mounts, calls ready, and returns once the mount is gone: because of a
// signal, or because somebody unmounted it.
func (m *mounter) run(ctx context.Context, ready func()) (err error) {
	outliveReaders()
	ctx, stop := signal.NotifyContext(ctx, supervise.EndSignals()...)
	defer stop()
	if err := mounts.Prepare(m.place); err != nil {
		return err
	}
	remoteConfig, closeLocal, err := m.remoteConfig()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.closeTransports(), closeLocal()) }()
	t, err := m.connect(ctx, remoteConfig)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	c, err := cache.New(cache.Config{
		Devices: m.devices, Extent: int64(m.o.extent), Timeout: ioTimeout,
		PinFiles: int64(max(1, t.Stats().KeptRoom/2)), // half of what may stay open for no program
		Attach:   t.Attach,
		Detach: func(mem transport.Memory) {
			if err := t.Detach(mem); err != nil {
				m.log.Warn("detach a region", "error", err)
			}
		},
	})
	if err != nil {
		return err
	}
	m.lend.from(c)
	// The cache waits for its transfers, which the target ends.
	defer func() { err = errors.Join(err, t.Close(), c.Close()) }()
	return m.show(ctx, t, c, ready)
}

// show keeps the file system mounted until ctx ends or somebody unmounts it.
func (m *mounter) show(ctx context.Context, t *remote.Target, c *cache.Cache, ready func()) error {
	server, err := fs.Mount(m.place, t, m.fsConfig(c))
	if err != nil {
		return m.explainMount(err)
	}
	defer m.announce()()
	m.log.Info("mounted", "source", m.src, "mountpoint", m.place, "version", version())
	ready()
	gone := make(chan struct{})
	go func() {
		server.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		m.log.Info("unmounted", "mountpoint", m.place)
		return nil
	case <-ctx.Done():
		m.log.Info("ending", "mountpoint", m.place, "cause", context.Cause(ctx))
		return server.Unmount()
	}
}

// announce makes this daemon to be found by its mount, until the returned function
// is called, and keeps it from looking into that itself.
func (m *mounter) announce() (withdraw func()) {
	top, found, err := mounts.At(m.place)
	if err != nil || !found || !top.Ours() {
		m.log.Warn("the mount is not in the mount table", "mountpoint", m.place, "error", err)
		return func() {}
	}
	if dev, err := top.DeviceNumber(); err == nil {
		dir.Hide(dev) // the source may contain the mount point
	}
	return mounts.Announce(top.Dev, m.log)
}

func (m *mounter) fsConfig(c *cache.Cache) fs.Config {
	dataset := m.src.dataset
	if m.src.local() {
		dataset = localDataset
	}
	return fs.Config{
		Cache: c, Dataset: dataset, Source: m.src.String(),
		Extent:     int64(m.o.extent),
		AllowOther: m.o.allowOther, ExportDMABuf: m.o.exportDMABuf, NoExec: m.o.noExec, NameTimeout: m.o.nameTimeout, Strict: m.o.strict, RequireDirect: m.o.requireDirect,
		Checksums: bool(m.o.checksums), Version: version(), Log: m.log,
	}
}

// explainMount adds what to do where a mount is refused that fusermount3 makes.
func (m *mounter) explainMount(err error) error {
	if os.Geteuid() == 0 || !errors.Is(err, fs.ErrMount) {
		return err
	}
	return fmt.Errorf("without root, a mount needs fusermount3 and access to /dev/fuse ('hbmfs doctor' tells), and --allow-other needs user_allow_other in /etc/fuse.conf: %w", err)
}

// remoteConfig says how to reach the source. For a local one it starts the
// embedded target, which the returned function closes.
func (m *mounter) remoteConfig() (remote.Config, func() error, error) {
	cfg := remote.Config{
		Addr: m.src.addr, TLS: m.tls,
		Connections: m.o.connections, Checksums: bool(m.o.checksums), Timeout: ioTimeout, Log: m.log,
		Transport: m.o.transport, RequireDirect: m.o.requireDirect,
	}
	if m.src.dataset != "" {
		cfg.Datasets = []string{m.src.dataset}
	}
	var local *server.Server
	closeLocal := func() error { return nil }
	if m.src.local() {
		var err error
		if local, closeLocal, err = m.embedTarget(); err != nil {
			return cfg, nil, err
		}
		cfg.Addr = "in this process"
		cfg.DialControl = local.DialLocal
	}
	m.transports = m.candidates(local)
	cfg.Candidates = m.transports
	return cfg, closeLocal, nil
}

// embedTarget starts a target of the local source, and returns how to close it.
func (m *mounter) embedTarget() (*server.Server, func() error, error) {
	files, err := dir.NewFiles(nil)
	if err != nil {
		return nil, nil, err
	}
	allow := func(path string) error { return source{path: path}.checkOutside(m.place) }
	t, err := server.New(server.Config{
		Exports:    []server.Export{{Name: localDataset, Store: files.Store(m.src.followed(m.place), allow)}},
		Transports: []string{inproc.Name},
	})
	if err != nil {
		files.Close()
		return nil, nil, err
	}
	return t, func() error {
		defer files.Close()
		return t.Close()
	}, nil
}

// closeTransports gives back what transports keep of the host.
func (m *mounter) closeTransports() (err error) {
	for _, c := range m.transports {
		if closer, ok := c.Transport.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
	}
	return err
}

// connect connects to the target, with a region of each device, as the cache will make
// them, to choose transports by.
func (m *mounter) connect(ctx context.Context, cfg remote.Config) (t *remote.Target, err error) {
	for i, d := range m.devices {
		r, err := d.Provider.Alloc(transport.Domain{UID: uint32(os.Geteuid()), Device: uint32(i)}, int64(m.o.extent))
		if err != nil {
			return nil, fmt.Errorf("device %d: %w", i, err)
		}
		defer r.Close()
		cfg.Probe = append(cfg.Probe, r)
	}
	if t, err = remote.Connect(ctx, cfg); err != nil {
		return nil, fmt.Errorf("source %s: %w", m.src, err)
	}
	if err := m.o.checkExtent(t.Transports()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// checkExtent refuses an extent that no request can carry.
func (o *mountOptions) checkExtent(transports []transport.Verdict) error {
	for _, v := range transports {
		if largest := size.Bytes(v.Plan.MaxLen); v.Chosen && o.extent > largest {
			return usagef("--extent %s: transport %s carries %s at a time; give that or less", &o.extent, v.Name, &largest)
		}
	}
	return nil
}

// outliveReaders has writes to standard output and error fail, and not end this
// process, once nobody reads them: a mount or a target outlives who read its log.
func outliveReaders() { signal.Ignore(unix.SIGPIPE) }
