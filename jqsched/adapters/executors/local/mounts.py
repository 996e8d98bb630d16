"""The mounted file systems: whether access to a path can hang for as long as a server does not answer.

In: /proc/self/mountinfo, read again when the kernel says that it has changed. Out: one answer for the whole machine,
for only the kernel knows what is behind a path. A type that is not known to be local counts as one that may hang.
Standard library only (see `wire`).
"""

import os

_LOCAL = frozenset({
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "msdos", "nilfs2", "ntfs3",
    "overlay", "ramfs", "reiserfs", "romfs", "rootfs", "squashfs", "tmpfs", "udf", "ufs", "vfat", "xfs", "zfs",
    # of the kernel's own
    "bdev", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "cpuset", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nfsd", "nsfs", "proc", "pstore", "resctrl", "rpc_pipefs",
    "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs",
})  # fmt: skip
_OF_SYSTEMD = "/proc/sys/fs/binfmt_misc"  # an autofs that every machine has, and no job works in


class Mounts:
    """Watches what is mounted. Register `fileno` for EPOLLPRI, and call `look` when it is ready."""

    def __init__(self) -> None:
        self.may_hang = True
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self.look()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._fd

    def look(self) -> None:
        """Read the mounts again."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        lines = b""
        while part := os.read(self._fd, 1 << 20):
            lines += part
        self.may_hang = any(map(_may_hang, lines.decode(errors="surrogateescape").splitlines()))


def _may_hang(line: str) -> bool:
    """Judge a line of mountinfo. Source: proc_pid_mountinfo(5)."""
    before, _, after = line.partition(" - ")
    kind, place = after.split(" ", 1)[0], before.split(" ")[4]
    return kind not in _LOCAL and not (kind == "autofs" and place == _OF_SYSTEMD)
