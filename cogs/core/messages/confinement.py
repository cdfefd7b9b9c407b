"""Confine the current process, so that code taken over by a hostile file can do no harm.

Every guard is used that the system offers; `confine` returns the names of those in force. Only ``limits`` exists outside of
Linux, and nothing on Windows. The guards need neither root nor a library.
"""

import contextlib
import ctypes
import os
import platform
import sys
from typing import Any, Final

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

NICENESS: Final = 10
PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_SECCOMP: Final = 22
PR_SET_NO_NEW_PRIVS: Final = 38
SIGKILL: Final = 9
CLONE_NEWUSER_NET_IPC: Final = 0x10000000 | 0x40000000 | 0x08000000

# Landlock (landlock(7)): the rights that each version of its interface knows, all of them withdrawn.
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_RESTRICT_SELF: Final = 446
LANDLOCK_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}  # version: number of rights to files
LANDLOCK_NETWORK_VERSION: Final = 4
LANDLOCK_NETWORK_RIGHTS: Final = 0b11  # bind and connect TCP
LANDLOCK_SCOPE_VERSION: Final = 6
LANDLOCK_SCOPES: Final = 0b11  # abstract sockets and signals

# seccomp(2): the system calls of a process that reads standard input, computes, and writes standard output.
AUDIT_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SYSTEM_CALLS: Final = {  # name: number on x86_64, number on aarch64
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "sysinfo": (99, 179),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}
LOAD_WORD: Final = 0x20  # codes of classic BPF, as in <linux/bpf_common.h>
JUMP_IF_EQUAL: Final = 0x15
RETURN: Final = 0x06
ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050001  # the call fails with EPERM


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def confine(cpu_seconds: int, memory: int) -> list[str]:
    """Confine this process for good and return the names of the guards in force.

    - ``limits``: processor seconds, bytes of memory, no further files, processes or file contents.
    - ``no network``: a network namespace of its own, without interfaces.
    - ``Landlock``: no path of the file system can be opened, no TCP, no signals to other processes.
    - ``seccomp``: only the system calls of `SYSTEM_CALLS` work.

    Import all modules first: afterwards no file can be opened.
    """
    guards = []
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        if libc.unshare(CLONE_NEWUSER_NET_IPC) == 0:
            guards.append("no network")
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and _forbid_paths(libc):
            guards.append("Landlock")
    if _limit(cpu_seconds, memory):
        guards.append("limits")
    if sys.platform == "linux" and _filter_system_calls(libc):
        guards.append("seccomp")
    return guards


def _limit(cpu_seconds: int, memory: int) -> bool:
    if resource is None:
        return False
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_NOFILE: 3,  # standard input, output and error, which are open
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS has no limit on the address space
            resource.setrlimit(kind, (value, value))
    return True


def _forbid_paths(libc: Any) -> bool:
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = max(count for first, count in LANDLOCK_FILE_RIGHTS.items() if first <= version)
    network = LANDLOCK_NETWORK_RIGHTS if version >= LANDLOCK_NETWORK_VERSION else 0
    scopes = LANDLOCK_SCOPES if version >= LANDLOCK_SCOPE_VERSION else 0
    ruleset = _Ruleset((1 << rights) - 1, network, scopes)
    size = ctypes.c_size_t(ctypes.sizeof(ruleset) if scopes else 16 if network else 8)
    descriptor = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    if descriptor < 0:
        return False
    is_restricted: bool = libc.syscall(LANDLOCK_RESTRICT_SELF, descriptor, 0) == 0
    os.close(descriptor)
    return is_restricted


def _filter_system_calls(libc: Any) -> bool:
    machine = platform.machine()
    if machine not in AUDIT_ARCHITECTURES or sys.maxsize < 2**32:
        return False
    column = list(AUDIT_ARCHITECTURES).index(machine)
    numbers = [call[column] for call in SYSTEM_CALLS.values()]
    # seccomp_data holds the number of the call at offset 0 and the architecture at 4.
    program = [
        (LOAD_WORD, 0, 0, 4),
        (JUMP_IF_EQUAL, 1, 0, AUDIT_ARCHITECTURES[machine]),
        (RETURN, 0, 0, REFUSE),
        (LOAD_WORD, 0, 0, 0),
        *((JUMP_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    instructions = (_Instruction * len(program))(*(_Instruction(*fields) for fields in program))
    filter_ = _Program(len(program), instructions)
    return bool(libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(filter_), 0, 0) == 0)
