package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hbmfs/integration/lab/agent"
	"hbmfs/integration/process"
)

const (
	// bootLimit is long: a boot of 8 s took 52 s on two cores with a load of 25.
	// A kernel that panics ends QEMU at once.
	bootLimit = 3 * time.Minute
	// bootTries is how often at most a pair is booted. Software emulation of two
	// CPUs now and then runs into code that the booting kernel is patching (an
	// oops: int3).
	bootTries = 3
	// consoleTail is how much of a console is shown, in bytes.
	consoleTail = 12 << 10
	// retryEvery is the pause between looks for a socket that QEMU makes.
	retryEvery = 20 * time.Millisecond
)

// errGuest says that a guest did not boot, or died.
var errGuest = errors.New("guest failed")

// machine is what guests are made of.
type machine struct {
	dir           string // for sockets and consoles
	image, initrd string
	modules       string // the directory, which the guest sees too
	kvm           bool
}

// guest is one running QEMU.
type guest struct {
	number  int
	console string
	qemu    *process.Process
	agent   *agent.Client
}

// pair is two guests with a wire between them.
type pair [2]*guest

// bootPair boots both guests at once, again if one fails. When that fails too,
// none is left.
func (m machine) bootPair(ctx context.Context) (pair, error) {
	for try := 1; ; try++ {
		p, err := m.bootBoth(ctx)
		if err == nil || try == bootTries || ctx.Err() != nil {
			return p, err
		}
		fmt.Printf("lab: boot %d of at most %d: %v\n", try, bootTries, err)
	}
}

func (m machine) bootBoth(ctx context.Context) (pair, error) {
	var p pair
	var errs [2]error
	done := make(chan struct{})
	go func() {
		defer close(done)
		p[1], errs[1] = m.boot(ctx, 2)
	}()
	p[0], errs[0] = m.boot(ctx, 1)
	<-done
	if err := errors.Join(errs[0], errs[1]); err != nil {
		p.close()
		return pair{}, err
	}
	return p, nil
}

// watch returns a context that ends, with the reason, when a guest dies.
func (p pair) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, g := range p {
		go func() {
			select {
			case <-g.qemu.Done():
				cancel(g.failure(errors.New("QEMU ended")))
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// close ends the guests, which have nothing to save.
func (p pair) close() {
	for _, g := range p {
		if g != nil {
			g.close()
		}
	}
}

func (m machine) boot(ctx context.Context, number int) (*guest, error) {
	g := &guest{number: number, console: m.file(number, "console")}
	cmd := process.Command("qemu-system-x86_64", m.arguments(number)...)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var err error
	if g.qemu, err = process.Start(cmd); err != nil {
		return nil, err
	}
	booting, stop := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("no answer within %v", bootLimit))
	defer stop()
	if g.agent, err = g.dial(booting, m.file(number, "agent")); err != nil {
		g.close()
		return nil, g.failure(err)
	}
	return g, nil
}

func (m machine) file(number int, name string) string {
	return filepath.Join(m.dir, fmt.Sprintf("%s%d", name, number))
}

// arguments are those of a guest's QEMU.
func (m machine) arguments(number int) []string {
	kernelArgs := fmt.Sprintf("console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr tsc=reliable audit=0 lab_guest=%d lab_modules=%s",
		number, m.modules)
	accel := []string{"-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off"}
	if m.kvm {
		accel = []string{"-accel", "kvm", "-cpu", "host"}
	}
	return append([]string{
		"-machine", "q35", "-m", "3G", "-smp", "2",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
		"-serial", "file:" + m.file(number, "console"),
		"-kernel", m.image, "-initrd", m.initrd, "-append", kernelArgs,
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag=host",
		"-netdev", fmt.Sprintf("dgram,id=wire,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s",
			m.file(number, "wire"), m.file(3-number, "wire")),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=wire,mac=52:54:00:77:00:%02x,host_mtu=9000", number),
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + m.file(number, "agent"),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=" + agent.PortName,
	}, accel...)
}

// dial waits for the agent, while QEMU runs.
func (g *guest) dial(ctx context.Context, socket string) (*agent.Client, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-g.qemu.Done():
			cancel(errors.New("QEMU ended"))
		case <-ctx.Done():
		}
	}()
	for {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			return agent.NewClient(ctx, nc)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (g *guest) close() {
	if err := g.qemu.End(syscall.SIGKILL); err != nil {
		fmt.Println("lab:", err)
	}
	if g.agent != nil {
		_ = g.agent.Close() // its guest is dead
	}
}

// failure adds what QEMU and the guest's kernel said.
func (g *guest) failure(why error) error {
	return fmt.Errorf("%w: guest %d: %w\n%s%s", errGuest, g.number, why, indented(g.qemu.Output()), tail(g.console))
}

// tail is the end of a file, indented.
func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-consoleTail), io.SeekStart) // else all of it
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	return indented(string(text))
}

func indented(text string) string {
	if text == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}
