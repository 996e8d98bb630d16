"""The JSON Schema of the job file, for editors and other programs: made from the table of keys.

Rule: every job file in its short form that is taken is valid by the schema. Not the reverse: what a schema cannot say
(names, paths, times) is left to the readers. Source: JSON Schema draft-07, which most editors know.
"""

from jqsched.core.jobspec.keys import KEYS
from jqsched.core.json import Json

_COUNT: dict[str, Json] = {"type": "integer", "minimum": 1}
_SCALAR: dict[str, Json] = {"type": ["string", "number", "boolean"]}
_AXIS: dict[str, Json] = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _SCALAR}]}
# The keys that make an array of a job file: they are read before all others (`arrays`).
_ARRAY: dict[str, Json] = {
    "array": {"type": "string", "pattern": "^[0-9]", "examples": ["0-99", "1-9:2%4"]},
    "each": {
        "anyOf": [
            {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [_SCALAR, {"type": "object", "additionalProperties": _SCALAR}]},
            },
            {"type": "object", "required": ["product"], "properties": {"product": {"additionalProperties": _AXIS}}},
            {"type": "object", "required": ["file"], "properties": {"file": {"type": "string"}}},
        ]
    },
    "array_limit": _COUNT,
    "max_failures": _COUNT,
}


def json_schema() -> dict[str, Json]:
    """Make the schema."""
    properties: dict[str, Json] = {
        key.name: {"description": _description(key.about, key.default), **key.schema, "examples": list(key.examples)}
        for key in KEYS
    }
    properties |= _ARRAY
    short: dict[str, Json] = {
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [{"required": ["command"]}, {"required": ["script"]}],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A job file of jqsched",
        "type": "object",
        "if": {"anyOf": [{"required": ["version"]}, {"required": ["tasks", "resources"]}]},
        "then": {"description": "A jobspec of RFC 25", "required": ["version", "resources", "tasks", "attributes"]},
        "else": short,
    }


def _description(about: str, default: str) -> str:
    return f"{about}. Default: {default}." if default else f"{about}."
