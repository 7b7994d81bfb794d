package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hbmfs/remote/target"
	"hbmfs/transport/tcp"
)

type serveOptions struct {
	listen        string
	insecure      bool
	dataPlaintext bool
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
any user of this host, whatever the permissions of the files.`

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
	o.tls.register(cmd.Flags())
	return cmd
}

func runServe(ctx context.Context, o serveOptions, args []string, stdout, stderr io.Writer) error {
	exports, err := parseExports(args)
	if err != nil {
		return err
	}
	tlsConfig, err := o.tls.server()
	if err != nil {
		return err
	}
	t, err := target.New(target.Config{
		Exports:       exports,
		TLS:           tlsConfig,
		Insecure:      o.insecure,
		DataPlaintext: o.dataPlaintext,
		Log:           slog.New(slog.NewTextHandler(stderr, nil)),
		Transports:    []string{tcp.Name},
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

func parseExports(args []string) ([]target.Export, error) {
	exports := make([]target.Export, 0, len(args))
	for _, arg := range args {
		e, err := target.ParseExport(arg)
		if err != nil {
			return nil, usageError{err.Error()}
		}
		exports = append(exports, e)
	}
	return exports, nil
}

// serve runs the target until ctx ends, and announces it once it accepts: a
// listener that it refuses is never announced.
func serve(ctx context.Context, t *target.Target, l net.Listener, args []string, stdout io.Writer) error {
	return t.Serve(ctx, &announcer{Listener: l, announce: func() {
		fmt.Fprintf(stdout, "serving %s on %s\n", strings.Join(args, " "), l.Addr())
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
