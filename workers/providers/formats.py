"""How an answer's format is asked for over OpenAI's protocol, and whether the answer has it.

A schema is part of the protocol. Closed labels are not: they go as vLLM's `structured_outputs`, a constraint on
decoding, and come without their probabilities. A server may ignore what it does not know, so the answer is looked at.
"""

from __future__ import annotations

import json
from typing import Any

from switchtower.errors import JobFailed
from switchtower.models import JsonSchema, Labels, OutputFormat


def fields(output: OutputFormat | None) -> dict[str, Any]:
    """The fields of a request that ask for this format."""
    if isinstance(output, JsonSchema):
        schema = {"name": "answer", "strict": True, "schema": json.loads(output.json_schema)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if isinstance(output, Labels):
        longest = max(len(label.encode()) for label in output.labels) + 1  # a token has at least one byte; one ends it
        constraint = {"structured_outputs": {"choice": list(output.labels)}}
        return {"temperature": 0, "max_tokens": longest, "extra_body": constraint}
    return {}


def in_format(text: str, finish: str, output: OutputFormat | None) -> str:
    """The answer, where it has the format; raises `JobFailed` for a server that did not keep to it."""
    if isinstance(output, Labels):
        label = " ".join(text.split())
        if label not in output.labels:
            raise JobFailed("the answer is none of its labels: the model's server does not know `structured_outputs`")
        return label
    if isinstance(output, JsonSchema) and finish == "stop":
        try:
            json.loads(text)
        except ValueError:
            raise JobFailed("the answer is no JSON: the model's server does not know `response_format`") from None
    return text
