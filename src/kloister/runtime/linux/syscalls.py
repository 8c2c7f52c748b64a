"""Numbers of the system calls that the seccomp filter names (arch/x86/entry/syscalls/syscall_64.tbl)."""

from __future__ import annotations

from types import MappingProxyType

CLONE = 56
CLONE3 = 435
IOCTL = 16

# Refused with EPERM: the way into other processes, into the kernel, or out of the sandbox.
DENIED = MappingProxyType(
    {
        "ptrace": 101,
        "syslog": 103,
        "vhangup": 153,
        "pivot_root": 155,
        "_sysctl": 156,
        "adjtimex": 159,
        "acct": 163,
        "settimeofday": 164,
        "mount": 165,
        "umount2": 166,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "iopl": 172,
        "ioperm": 173,
        "create_module": 174,
        "init_module": 175,
        "delete_module": 176,
        "quotactl": 179,
        "lookup_dcookie": 212,
        "clock_settime": 227,
        "kexec_load": 246,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "unshare": 272,
        "perf_event_open": 298,
        "fanotify_init": 300,
        "open_by_handle_at": 304,
        "clock_adjtime": 305,
        "setns": 308,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "finit_module": 313,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_tree": 428,
        "move_mount": 429,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433,
        "pidfd_getfd": 438,
        "process_madvise": 440,
        "mount_setattr": 442,
        "quotactl_fd": 443,
        "open_tree_attr": 467,
    }
)

OPEN = 2
OPENAT = 257
OPENAT2 = 437
CREAT = 85
TRUNCATE = 76
RENAME, RENAMEAT, RENAMEAT2 = 82, 264, 316
MKDIR, MKDIRAT = 83, 258
RMDIR = 84
LINK, LINKAT = 86, 265
UNLINK, UNLINKAT = 87, 263
SYMLINK, SYMLINKAT = 88, 266
MKNOD, MKNODAT = 133, 259

# Always a write; the opens are a write by their flags only.
WRITES = (
    CREAT, TRUNCATE, RENAME, RENAMEAT, RENAMEAT2, MKDIR, MKDIRAT, RMDIR, LINK, LINKAT, UNLINK, UNLINKAT,
    SYMLINK, SYMLINKAT, MKNOD, MKNODAT, OPENAT2,
)  # fmt: skip
