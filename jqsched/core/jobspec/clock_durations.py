"""Durations as Slurm writes them, by hours, minutes and seconds: `1:30:00`, `1-12:00:00`.

Rule: only forms that have one meaning. `10:00`, ten minutes to Slurm and ten hours to others, is read by
`slurm_seconds` alone, which is for Slurm's own options. Source: sbatch(1), `--time`.
"""

import re

_CLOCK = re.compile(r"(?:(\d{1,6})-)?(\d{1,6}):([0-5]?\d):([0-5]?\d)", re.ASCII)
_SLURM = (
    (re.compile(r"(\d{1,9})", re.ASCII), (60,)),
    (re.compile(r"(\d{1,9}):([0-5]?\d)", re.ASCII), (60, 1)),
    (re.compile(r"(\d{1,6})-(\d{1,6})", re.ASCII), (86_400, 3600)),
    (re.compile(r"(\d{1,6})-(\d{1,6}):([0-5]?\d)", re.ASCII), (86_400, 3600, 60)),
)


def clock_seconds(text: str) -> float | None:
    """Read `[D-]H:MM:SS`; None for any other text."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def slurm_seconds(text: str) -> float | None:
    """Read Slurm's `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` and `D-H:M:S`; None for any other text."""
    for pattern, units in _SLURM:
        match = pattern.fullmatch(text)
        if match is not None:
            return float(sum(int(part) * unit for part, unit in zip(match.groups(), units, strict=True)))
    return clock_seconds(text)
