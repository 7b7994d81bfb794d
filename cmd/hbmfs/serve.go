package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hbmfs/remote/server"
	"hbmfs/remote/server/store/dir"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
)

type serveOptions struct {
	listen        string
	insecure      bool
	dataPlaintext bool
	delegations   bool
	tls           tlsFiles
}

const serveHelp = `Serve datasets to mounts: each PATH, a directory, a regular file or a block
device, under a NAME. Mounts see only what lies under PATH.

Mounts fetch over TCP and, where this host has an RDMA device, by RDMA at the
same address and port number.

When the target answers, one line says so and at which address; port 0 takes any
free one. The log goes to standard error. SIGTERM or Ctrl-C ends it.

Without TLS, a target listens on loopback addresses only, unless --insecure is
given: then whoever reaches the port can read the datasets. On loopback, that is
any user of this host, whatever the permissions of the files.

What there is for all clients (a certificate's name, or else an address, is one)
is bounded, and one has no more of it than is left for others: half, while it is
alone. Refusals say which bound and whose, and the log does once a minute. It is
4096 sessions, 1024 digests, 512 MiB of staging memory over TCP, 1024 calls under
way, which wait their turn; of descriptors (ulimit -n), a thirty-second for those
calls, another for delegated names, an eighth for control connections, a quarter for data connections, 4096 at
most of each, an eighth, 16 to 256, for who has not proved himself yet, and for
open files what is left but for an eighth.`

func newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:     "serve NAME=PATH [NAME=PATH ...]",
		Short:   "Serve datasets to mounts",
		Long:    serveHelp,
		Example: "  hbmfs serve --listen 127.0.0.1:7070 train=/data/train",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runServe(cmd.Context(), o, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:7070", "`address` to listen on, HOST:PORT")
	cmd.Flags().BoolVar(&o.insecure, "insecure", false, "listen beyond loopback without TLS")
	cmd.Flags().BoolVar(&o.dataPlaintext, "data-plaintext", false, plaintextUsage)
	cmd.Flags().BoolVar(&o.delegations, "delegations", false, "delegate names, where the kernel can (Linux 6.19): opens by mounts cost no message then, and who changes a name here waits until they ask again; what is mounted over a part of a tree they see up to a term later")
	o.tls.register(cmd.Flags())
	return cmd
}

func runServe(ctx context.Context, o serveOptions, args []string, stdout, stderr io.Writer) error {
	if err := checkListen(o.listen); err != nil {
		return err
	}
	log := newLog(stderr)
	files, err := dir.NewFiles(log)
	if err != nil {
		return err
	}
	defer files.Close()
	if !o.delegations {
		files.WithoutDelegations()
	}
	exports, err := parseExports(files, args)
	if err != nil {
		return err
	}
	tlsConfig, err := o.tls.config()
	if err != nil {
		return err
	}
	t, err := server.New(server.Config{
		Exports:       exports,
		TLS:           tlsConfig,
		Insecure:      o.insecure,
		DataPlaintext: o.dataPlaintext,
		Log:           log,
		Planes:        []transport.NewPlane{tcp.NewPlane, devmemtcp.NewPlane, rdma.NewPlane},
	})
	if err != nil {
		return err
	}
	defer t.Close()
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	outliveReaders()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, os.Interrupt)
	defer stop()
	return serve(ctx, t, listener, args, stdout)
}

// checkListen refuses what is no address anywhere.
func checkListen(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usagef("--listen %q: give HOST:PORT, such as 127.0.0.1:7070; port 0 takes any", addr)
	}
	return nil
}

func parseExports(files *dir.Files, args []string) ([]server.Export, error) {
	exports := make([]server.Export, 0, len(args))
	for _, arg := range args {
		name, path, err := server.ParseExport(arg)
		if err != nil {
			return nil, usageError{err.Error()}
		}
		if slices.ContainsFunc(exports, func(o server.Export) bool { return o.Name == name }) {
			return nil, usagef("export %q: the name is used twice", name)
		}
		exports = append(exports, server.Export{Name: name, Store: files.Store(path, nil)})
	}
	return exports, nil
}

// serve runs the target until ctx ends, and announces it once it accepts: a
// listener that it refuses is never announced.
func serve(ctx context.Context, t *server.Server, l net.Listener, args []string, stdout io.Writer) error {
	return t.Serve(ctx, &announcer{Listener: l, announce: func() {
		fmt.Fprintf(stdout, "serving %s on %s\n", shownText(strings.Join(args, " ")), l.Addr())
	}})
}

// announcer is a listener that says when it is first waited on.
type announcer struct {
	net.Listener
	once     sync.Once
	announce func()
}

// Accept implements [net.Listener].
func (a *announcer) Accept() (net.Conn, error) {
	a.once.Do(a.announce)
	return a.Listener.Accept()
}
