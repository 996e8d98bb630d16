"""The type of JSON values, for everything that is carried but not interpreted.

Rule: encoding and decoding is done by the adapters; what they give to `json` as its `default` is here.
"""

from collections.abc import Mapping
from typing import TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
JsonObject: TypeAlias = Mapping[str, Json]


def as_object(value: object) -> dict[str, Json]:
    """Return a mapping that is no dict as one, for `json.dumps`. Raises TypeError for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
