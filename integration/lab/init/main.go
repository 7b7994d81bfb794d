// Command init is the first program of a guest of the lab. It owns the guest's
// set-up: modules, the host's files by 9p under an overlay, the network and
// the RDMA devices. Then it runs the agent, as another process of itself, and
// reaps orphans; a guest without its agent is powered off.
//
// It never touches a host's file: the host exports them read-only.
//
// Locking: none, it runs one step after another.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == agentMode {
		fmt.Fprintln(os.Stderr, "init: agent:", serve())
		os.Exit(1)
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first program of a lab's guest; run integration/lab instead")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "init:", run())
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // PID 1's exit stops the kernel too
}

// run returns when the guest has no use any more, saying why.
func run() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"mount the kernel's file systems", mountKernel},
		{"load modules", loadModules},
		{"mount the host's files", mountRoot},
		{"set limits", setLimits},
		{"set up the network", setUpNetwork},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	// From here on the console shows what the kernel says.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("7"), 0); err != nil {
		return err
	}
	return reapUntilAgentEnds()
}

func reapUntilAgentEnds() error {
	cmd := exec.Command("/proc/self/exe", agentMode)
	cmd.Env = []string{"PATH=" + searchPath, "HOME=/root", "TMPDIR=/tmp", "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && err != syscall.EINTR {
			return err
		}
		if pid == cmd.Process.Pid {
			return fmt.Errorf("the agent ended: status %#x", int(status))
		}
	}
}

// setLimits lets every process register as much memory as there is.
func setLimits() error {
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 65536, Max: 65536})
}
