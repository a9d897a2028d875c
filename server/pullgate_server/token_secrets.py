"""The secrets of tokens: how they are made, and what is kept instead of them.

A secret is 256 random bits, so a fast hash of it is as good as a slow one: there is nothing to guess. It is hashed with
a key that lies beside the database and not in it: who can write to the database alone cannot make tokens.
"""

import hashlib
import hmac
from collections.abc import Callable

SECRET_PREFIX = "pullgate_"
"""Makes a leaked secret easy to find for secret scanners: pullgate_ and 64 hexadecimal digits."""

KEY_BYTES = 32


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """A secret that nobody can guess."""
    return SECRET_PREFIX + random_bytes(32).hex()


def new_token_id(random_bytes: Callable[[int], bytes]) -> str:
    """A name for a token."""
    return f"tok_{random_bytes(8).hex()}"


class SecretHasher:
    """Hashes secrets with one key.

    Attributes:
        check: tells this key from others, and nothing about it.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.check = self.rehash("pullgate: which key is this?")

    def hash(self, secret: str) -> str:
        """What is kept of a secret, in hexadecimal."""
        return self.rehash(hashlib.sha256(secret.encode()).hexdigest())

    def rehash(self, unkeyed: str) -> str:
        """The hash of a secret whose SHA-256 alone is known, as it was kept before there was a key."""
        return hmac.new(self._key, unkeyed.encode(), hashlib.sha256).hexdigest()
