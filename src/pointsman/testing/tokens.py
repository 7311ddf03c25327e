"""How the fault provider counts tokens: a rule one can check by hand.

A token is at most six non-space characters with the white space before them; white space at the
end of a text is one more. So "Hello, world" is two tokens and "Constantinople" three. The tokens
of a text, joined, are the text, which is why one event of a stream carries exactly one token.

A request's input is the tokens of its texts (system, messages, tool calls and results, tool
names, descriptions and schemas as compact JSON), plus three for every message and for every
tool, plus 85 for every image or file. It is no real tokeniser and need not be: what counts is
that the provider reports what it bills.
"""

from __future__ import annotations

import re

PER_MESSAGE = 3
PER_TOOL = 3
PER_ATTACHMENT = 85

_TOKEN = re.compile(r"\s*\S{1,6}|\s+")


def split_tokens(text: str) -> tuple[str, ...]:
    """Cut a text into its tokens; joined again they are the text."""
    return tuple(_TOKEN.findall(text))


def count_tokens(text: str) -> int:
    return len(_TOKEN.findall(text))
