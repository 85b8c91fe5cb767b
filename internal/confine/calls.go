package confine

import "slices"

// daemonCalls are the system calls that netfate does not make once it watches. Namespaces
// are entered and programs of BPF attached all the time; the history's process may be
// started anew. Some exist on one architecture only.
func daemonCalls() []string {
	return slices.Concat(
		// The kernel itself, and what runs it.
		[]string{"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "iopl", "ioperm", "modify_ldt", "acct", "swapon", "swapoff"},
		// What the host is called, and what time it is.
		[]string{"sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex"},
		// File systems: what is seen where.
		[]string{
			"mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "mknod", "mknodat",
			"quotactl", "quotactl_fd", "fanotify_init",
		},
		// Other processes: their memory, their files, their course.
		[]string{"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "move_pages", "migrate_pages"},
		// Who it is; what it may is taken before.
		[]string{"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "personality"},
		// What faults of kernels are mostly in, and nothing here is made of.
		[]string{
			"add_key", "request_key", "keyctl", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "execveat", "vmsplice", "uselib",
			"shmget", "shmat", "shmctl", "semget", "semctl", "semop", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "lookup_dcookie",
		},
	)
}

// historyCalls are those that a process with a database in a file does not make either,
// once it has its socket. A program is not run, no namespace entered, nobody called.
func historyCalls() []string {
	return slices.Concat(daemonCalls(),
		[]string{"execve", "bpf", "perf_event_open", "setns", "unshare", "memfd_create", "name_to_handle_at", "open_by_handle_at", "syslog", "inotify_init", "inotify_init1"},
		[]string{"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendmsg", "sendmmsg", "recvmsg", "recvmmsg"},
		[]string{"kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_send_signal", "setpriority", "ioprio_set", "capset"},
	)
}
