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
	"hbmfs/cache/device"
	"hbmfs/fs"
	"hbmfs/remote"
	"hbmfs/remote/target"
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

	transports []transport.Candidate // that were probed
}

func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// run mounts, calls ready, and returns once the mount is gone: because of a
// signal, or because somebody unmounted it.
func (m *mounter) run(ctx context.Context, ready func()) (err error) {
	outliveReaders()
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	if err := preparePlace(m.place); err != nil {
		return err
	}
	provider, err := device.Open(m.o.device)
	if err != nil {
		return usagef("--device %s: %v", m.o.device, err)
	}
	remoteConfig, closeLocal, err := m.remoteConfig(provider)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.closeTransports(), closeLocal()) }()
	t, err := remote.Connect(ctx, remoteConfig)
	if err != nil {
		return m.explainConnect(err)
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	c, err := cache.New(cache.Config{
		Provider: provider, Pool: int64(m.o.pool), Extent: int64(m.o.extent), Timeout: ioTimeout,
		Attach: t.Attach,
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
	return m.show(ctx, provider, t, c, ready)
}

// show keeps the file system mounted until ctx ends or somebody unmounts it.
func (m *mounter) show(ctx context.Context, provider device.Provider, t *remote.Target, c *cache.Cache, ready func()) error {
	server, err := fs.Mount(m.place, m.fsConfig(provider, t, c))
	if err != nil {
		return m.explainMount(err)
	}
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

func (m *mounter) fsConfig(provider device.Provider, t *remote.Target, c *cache.Cache) fs.Config {
	dataset := m.src.dataset
	if m.src.local() {
		dataset = localDataset
	}
	return fs.Config{
		Target: t, Cache: c, Dataset: dataset, Source: m.src.String(),
		Device: provider.Name(), CPUDevice: provider.CPU(),
		Pool: int64(m.o.pool), Extent: int64(m.o.extent),
		AllowOther: m.o.allowOther, Strict: m.o.strict, RequireDirect: m.o.requireDirect,
		Checksums: bool(m.o.checksums), Version: version(), Log: m.log,
	}
}

func (m *mounter) explainConnect(err error) error {
	if errors.Is(err, transport.ErrConnLost) {
		return fmt.Errorf("source %s: %w; is 'hbmfs serve' running there, and does it use TLS as this mount does?", m.src, err)
	}
	return fmt.Errorf("source %s: %w", m.src, err)
}

// explainMount adds what to do where a mount is refused for want of privilege.
func (m *mounter) explainMount(err error) error {
	if os.Geteuid() == 0 {
		return err
	}
	return fmt.Errorf("without root, a mount needs fusermount3 and access to /dev/fuse ('hbmfs doctor' tells), and --allow-other needs user_allow_other in /etc/fuse.conf: %w", err)
}

// remoteConfig says how to reach the source. For a local one it starts the
// embedded target, which the returned function closes.
func (m *mounter) remoteConfig(provider device.Provider) (remote.Config, func() error, error) {
	cfg := remote.Config{
		Addr: m.src.addr, TLS: m.tls,
		Connections: m.o.connections, Checksums: bool(m.o.checksums), Timeout: ioTimeout, Log: m.log,
		RequireDirect: m.o.requireDirect,
	}
	if m.src.dataset != "" {
		cfg.Datasets = []string{m.src.dataset}
	}
	var local *target.Target
	closeLocal := func() error { return nil }
	if m.src.local() {
		var err error
		local, err = target.New(target.Config{
			Exports:    []target.Export{{Name: localDataset, Path: m.src.path}},
			Transports: []string{inproc.Name},
		})
		if err != nil {
			return cfg, nil, err
		}
		cfg.Addr = "in this process"
		cfg.DialControl, closeLocal = local.DialLocal, local.Close
	}
	cfg.Select = func(served []string) (transport.Selection, error) {
		m.transports = m.candidates(local)
		return m.selectPath(provider, served, m.transports)
	}
	return cfg, closeLocal, nil
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

// selectPath probes the candidates against a region like those that the cache
// will have.
func (m *mounter) selectPath(provider device.Provider, served []string, candidates []transport.Candidate) (transport.Selection, error) {
	probe, err := provider.Alloc(transport.Domain{UID: uint32(os.Geteuid())}, int64(m.o.extent))
	if err != nil {
		return transport.Selection{}, fmt.Errorf("device memory: %w", err)
	}
	s, err := transport.Select(m.o.transport, m.o.requireDirect, served, probe, candidates)
	if largest := byteSize(s.Plan.MaxLen); err == nil && m.o.extent > largest {
		err = usagef("--extent %s: transport %s carries %s at a time; give that or less", &m.o.extent, s.Transport.Name(), &largest)
	}
	return s, errors.Join(err, probe.Close())
}

// endSignals end a mount in order. A hang-up that is ignored, as the daemon's
// is, stays ignored.
func endSignals() []os.Signal {
	end := []os.Signal{os.Interrupt, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		end = append(end, unix.SIGHUP)
	}
	return end
}

// outliveReaders has writes to standard output and error fail, and not end this
// process, once nobody reads them: a mount or a target outlives who read its log.
func outliveReaders() { signal.Ignore(unix.SIGPIPE) }
