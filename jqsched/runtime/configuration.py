"""The effective configuration of a spool: its configuration file, and the options of `jqsched run`.

In: the file and the options, which win. Out: a `Config`; SpoolRefused for one that this machine cannot carry out.
Rule: a command without a scheduler decides by the same configuration; nothing in it is silently ignored.
"""

import os
from pathlib import Path

from attrs import frozen

from jqsched.adapters.config import Config, merge, read_config
from jqsched.adapters.jobfile import BadFile
from jqsched.adapters.spool import SpoolRefused


@frozen
class RunOptions:
    """The options of `jqsched run`; None: not given."""

    spool: str
    max_running: int | None = None
    cores: int | None = None
    exit_when_idle: bool = False
    plugins: tuple[str, ...] = ()
    executor: str | None = None
    store: str | None = None
    scan_s: float | None = None
    adopt: bool = False


def good_configuration(root: str, options: RunOptions) -> Config:
    """Read the configuration at the start of a scheduler, or of a command without one. Raises SpoolRefused."""
    config = configuration(root, options)
    if isinstance(config, BadFile):
        raise SpoolRefused(f"{root}/jqsched.toml: " + "; ".join(config.errors))
    return config


def configuration(root: str, options: RunOptions) -> Config | BadFile:
    """Read the configuration file, and override it by the command line's options."""
    found = read_config(os.path.join(root, "jqsched.toml"))
    if isinstance(found, BadFile):
        return found
    given: dict[str, object] = {"max_running": options.max_running, "cores": options.cores}
    merged = merge(
        found,
        given
        | {
            "executor": options.executor,
            "scan_s": options.scan_s,
            "plugins": options.plugins or None,
        },
    )
    return _supported(merged) if isinstance(merged, Config) else merged


def _supported(config: Config) -> Config | BadFile:
    """Refuse settings that this version or this machine cannot carry out."""
    errors = []
    if config.executor != "local":
        errors.append(f"executor: {config.executor!r} is not known here; there is 'local'")
    if config.run_as_owner and (why_not := _cannot_run_as_owner()):
        errors.append(f"run_as_owner: {why_not}")
    return BadFile(tuple(errors)) if errors else config


def _cannot_run_as_owner() -> str:
    """Say why jobs cannot be run as the owners of their files; empty when they can."""
    if os.geteuid() != 0:
        return "only a scheduler that runs as root can become other users"
    try:
        protected = Path("/proc/sys/fs/protected_hardlinks").read_text(encoding="ascii").strip()
    except OSError:
        protected = "unknown"
    if protected != "1":  # else one may link to another user's file, and be its only name later
        return f"wants the kernel's fs.protected_hardlinks = 1, and it is {protected}: sysctl fs.protected_hardlinks=1"
    return ""
