"""Runs a job in a child process that is stopped before every system call of every thread (ptrace).

The child can be killed before any of them, as by a pulled plug, or be told that the disk is full.
It is forked, so that nothing of starting an interpreter is counted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_LIBC.ptrace.restype = ctypes.c_long

_NO_TRACING: Final = "this system lets no process trace its child (ptrace); try another container"

# linux/ptrace.h
_TRACEME, _PEEKUSER, _POKEUSER, _SYSCALL, _SETOPTIONS = 0, 3, 6, 24, 0x4200
_SYSGOOD, _FOLLOW, _EXITKILL = 0x1, 0x2 | 0x4 | 0x8, 0x100000
_ALL_THREADS: Final = 0x40000000  # __WALL of wait(2)
_SYSCALL_STOP: Final = signal.SIGTRAP | 0x80

FAULTS_WORK: Final = platform.machine() == "x86_64"
"""Whether calls can be made to fail here: that takes registers, which every machine has others."""

# asm/unistd_64.h and sys/reg.h of x86_64
_ON_DESCRIPTORS: Final = {1, 18, 20, 74, 75, 77, 285}
"""write, pwrite64, writev, fsync, fdatasync, ftruncate, fallocate"""
_ON_PATHS: Final = {82, 83, 86}
"""rename, mkdir, link"""
_IN_FOLDERS: Final = {258, 264, 316}
"""mkdirat, renameat, renameat2: a folder's descriptor, then a path"""
_OPENAT: Final = 257
_RAX, _ARGUMENTS, _ORIG_RAX = 10 * 8, (14 * 8, 13 * 8, 12 * 8), 15 * 8


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a job.

    calls:    those that were counted.
    finished: it came to its own end, without an error.
    """

    calls: int
    finished: bool


def run(job: Callable[[], None], *, kill_at: int | None = None) -> Run:
    """Let the job make its system calls, and kill it before the `kill_at`th, counted from 1.

    Raises:
        OSError: this system allows no tracing.
    """

    def decide(_tid: int, number: int) -> str:
        return "kill" if number == kill_at else "go on"

    return _traced(job, decide)


def run_on_full_disk(job: Callable[[], None], folder: Path, *, fail_at: int | None = None) -> Run:
    """Let every call that would write below `folder` fail with ENOSPC, from the `fail_at`th on.

    `calls` of what is returned counts such calls only. Only where `FAULTS_WORK`.

    Raises:
        OSError: this system allows no tracing.
    """
    writes = 0

    def decide(tid: int, _number: int) -> str:
        nonlocal writes
        if not _would_write(tid, folder):
            return "go on"
        writes += 1
        return "go on" if fail_at is None or writes < fail_at else "fail"

    found = _traced(job, decide)
    return Run(writes, found.finished)


def _traced(job: Callable[[], None], decide: Callable[[int, int], str]) -> Run:
    """decide: from a thread before a call, and that call's number, to "go on", "kill" or "fail"."""
    child = _begin(job)
    calls, inside, failing, known = 0, set[int](), set[int](), {child}
    while True:
        tid, status = os.waitpid(-1, _ALL_THREADS)
        if not os.WIFSTOPPED(status):
            if tid == child:
                return Run(calls, os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0)
            continue
        if os.WSTOPSIG(status) != _SYSCALL_STOP:
            # A new thread begins with a stop of its own, and clone with an event: neither is sent.
            sent = tid in known and not status >> 16
            known.add(tid)
            _resume(tid, os.WSTOPSIG(status) if sent else 0)
            continue
        if tid in inside:
            inside.remove(tid)
            if tid in failing:
                failing.remove(tid)
                _ptrace(_POKEUSER, tid, _RAX, -errno.ENOSPC)
        else:
            inside.add(tid)
            calls += 1
            wanted = decide(tid, calls)
            if wanted == "kill":
                os.kill(child, signal.SIGKILL)
                continue
            if wanted == "fail":
                failing.add(tid)
                _ptrace(_POKEUSER, tid, _ORIG_RAX, -1)  # no such call: nothing is done
        _resume(tid, 0)


def _begin(job: Callable[[], None]) -> int:
    """The id of a child that is about to begin."""
    child = os.fork()
    if not child:
        code = 1
        try:
            _ptrace(_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            job()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    _, status = os.waitpid(child, _ALL_THREADS)
    if not os.WIFSTOPPED(status):
        raise OSError(errno.EPERM, _NO_TRACING)
    _ptrace(_SETOPTIONS, child, 0, _SYSGOOD | _FOLLOW | _EXITKILL)
    _resume(child, 0)
    return child


def _resume(tid: int, passed_on: int) -> None:
    """Let it run to its next call. passed_on: a signal that it gets, or 0."""
    with suppress(ProcessLookupError):  # another thread may have ended the process meanwhile
        _ptrace(_SYSCALL, tid, 0, passed_on)


def _would_write(tid: int, folder: Path) -> bool:
    """Whether the call it is about to make takes room below this folder."""
    call = _peek(tid, _ORIG_RAX)
    first, second, third = (_peek(tid, place) for place in _ARGUMENTS)
    if call in _ON_DESCRIPTORS:
        path = str(Path(f"/proc/{tid}/fd/{first}").readlink())
    elif call in _ON_PATHS:
        path = _text(tid, first)
    elif call in _IN_FOLDERS or (call == _OPENAT and third & os.O_CREAT):
        path = _text(tid, second)
    else:
        return False
    return Path(path).is_relative_to(folder)


def _text(tid: int, address: int) -> str:
    """The C string at an address of the child."""
    with Path(f"/proc/{tid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(4_096).partition(b"\0")[0].decode()


def _peek(tid: int, place: int) -> int:
    return _ptrace(_PEEKUSER, tid, place, 0)


def _ptrace(request: int, tid: int, place: int, value: int) -> int:
    # The library's wrapper returns what it peeked, so that -1 alone is no fault.
    ctypes.set_errno(0)
    found: int = _LIBC.ptrace(request, tid, place, value)
    if found == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), _NO_TRACING)
    return found
