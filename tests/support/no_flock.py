"""A command on a file system that cannot lock files: the kernel refuses each flock.

A seccomp filter does it for the process and for nobody else; it needs no rights.
"""

from __future__ import annotations

import ctypes
import platform
import sys

import pytest

_FLOCK = {"x86_64": 73, "aarch64": 32}  # the numbers of the system call
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERROR, _ALLOW = 0x00050000, 0x7FFF0000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def skip_unless_possible() -> None:
    """Skip a test where the kernel cannot be made to refuse flock."""
    if sys.platform != "linux" or platform.machine() not in _FLOCK:
        pytest.skip("flock can be refused on Linux only, on x86_64 and aarch64")


def milestones_without_flock(error: int, *words: str) -> None:
    """Run `milestones` in this process, in which each flock fails with an errno from now on."""
    from pipelines.cli import main

    lines = (
        _Instruction(_LOAD, 0, 0, 0),
        _Instruction(_IF_EQUAL, 0, 1, _FLOCK[platform.machine()]),
        _Instruction(_RETURN, 0, 0, _ERROR | error),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(lines), (_Instruction * len(lines))(*lines))
    control = ctypes.CDLL(None, use_errno=True).prctl
    assert control(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert control(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0
    sys.argv[:] = ["milestones", *words]
    main()
