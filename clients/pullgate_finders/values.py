"""Texts that are worked out from variables, and may depend on what is not known here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """A text that is known.

    Attributes:
        how: where its parts come from, a step each: `default of build argument VERSION (Dockerfile:1)`.
        overridable: whether another build or run may give another text, as where a default was taken.
    """

    value: str
    how: tuple[str, ...] = ()
    overridable: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """A text that is not known here.

    Attributes:
        reason: why, in a sentence that begins with a lower-case letter: `build argument BASE has no default`.
        how: as of `Known`.
        beginning: what it begins with whatever the rest comes to, as far as no `/` can follow: `acme/app:`. So the
            repository may be known where the tag is not.
    """

    reason: str
    how: tuple[str, ...] = ()
    beginning: str = ""

    @property
    def overridable(self) -> bool:
        """Whether another build or run may give another text."""
        return True


Text = Known | Unknown


def joined(*parts: Text) -> Text:
    """The texts one after another: unknown if one is, for the reason of the first that is."""
    how = tuple(dict.fromkeys(step for part in parts for step in part.how))
    first = next((part for part in parts if isinstance(part, Unknown)), None)
    if first is not None:
        return Unknown(first.reason, how, _beginning(parts))
    known = [part for part in parts if isinstance(part, Known)]
    return Known("".join(part.value for part in known), how, any(part.overridable for part in known))


def worked_out_from(*parts: Text) -> Text:
    """As `joined`, for what is made of texts in another way: nothing is known of its beginning."""
    text = joined(*parts)
    return Unknown(text.reason, text.how) if isinstance(text, Unknown) else text


def _beginning(parts: tuple[Text, ...]) -> str:
    """What stands before the first part that is unknown, unless a `/` follows: then that part is within a name."""
    known: list[str] = []
    rest = iter(parts)
    for part in rest:
        if isinstance(part, Unknown):
            known.append(part.beginning)
            break
        known.append(part.value)
    has_slash = any("/" in (part.value if isinstance(part, Known) else part.beginning) for part in rest)
    return "" if has_slash else "".join(known)
