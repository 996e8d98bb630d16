"""The type of JSON values, for everything that is carried but not interpreted.

Rule: types only; encoding and decoding is done by the adapters.
"""

from collections.abc import Mapping
from typing import TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
JsonObject: TypeAlias = Mapping[str, Json]
