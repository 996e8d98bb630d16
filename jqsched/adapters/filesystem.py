"""The kind of file system that a folder is on: on some, other machines change files without this kernel's knowing.

Rule: one question to the kernel; what follows from the answer is decided by the caller.
"""

import ctypes
import os

# statfs(2) of file systems where others change files without this kernel's knowing
_REMOTE = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x65735546: "FUSE",
    0x01021997: "9P",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
}


def remote_kind(path: str) -> str | None:
    """Return the name of a path's file system if it is remote or in user space; None if local, or unknown."""
    return _REMOTE.get(_kind(path))


def _kind(path: str) -> int:
    """Ask statfs(2), whose first word is the type on all Linux; 0 when it does not say."""
    buffer = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None).statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
