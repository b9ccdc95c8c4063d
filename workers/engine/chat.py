"""How messages become the tokens of a prompt; training, evaluation and serving share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def prompt_ids(tokenizer: Any, messages: Iterable[dict[str, str]]) -> list[int]:
    """The prompt's tokens, up to where the assistant begins to speak."""
    clean = [{"role": message["role"], "content": defused(tokenizer, message["content"])} for message in messages]
    text = tokenizer.apply_chat_template(clean, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def shared_prefix(tokenizer: Any, system_prompt: str) -> list[int]:
    """The tokens with which every prompt under this system prompt begins, whatever the user says."""
    one, other = (prompt_ids(tokenizer, asked(system_prompt, said)) for said in ("a", "b"))
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return one[:same]


def defused(tokenizer: Any, text: str) -> str:
    """The text with every control token broken, so that no message can pose as another role's."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and (control := str(token.content)) in text:
            text = text.replace(control, control[0] + " " + control[1:])
    return text


def asked(system_prompt: str, prompt: str) -> list[dict[str, str]]:
    """One question to an agent, as messages."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": prompt}]
