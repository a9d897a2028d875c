"""Text that reaches terminals, some of it from servers: what terminals take for commands is shown, not sent."""

CONTROLS = frozenset(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))) - frozenset("\n\t")
"""Characters that move the cursor, colour the text or do worse (ECMA-48), but for those that lay out text."""

_SHOWN = {ord(control): f"\\x{ord(control):02x}" for control in CONTROLS}


def shown(text: str) -> str:
    r"""The text with control characters written out, as `\x1b`; newlines and tabs stay."""
    return text.translate(_SHOWN)
