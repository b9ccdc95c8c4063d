"""Training and held-out records: one JSON object a line, with a prompt, its answer and perhaps facts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from switchtower.models import Frozen
from workers.training.errors import TrainingDataError


class Record(Frozen):
    """One example; `facts` are strings that a metric looks for in an answer."""

    prompt: str = Field(min_length=1, max_length=20_000)
    answer: str = Field(min_length=1, max_length=20_000)
    facts: tuple[str, ...] = ()


def read_records(path: Path) -> list[Record]:
    """Every record of a JSONL file; the first bad line is refused with its place and reason."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TrainingDataError(f"{path}: {error.strerror}") from None
    records = [_record(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not records:
        raise TrainingDataError(f"{path}: no records; each line is an object with a prompt and an answer")
    return records


def _record(place: str, line: bytes) -> Record:
    try:
        return Record.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TrainingDataError(f"{place}: {field + ': ' if field else ''}{first['msg']}") from None
