"""ETags of answers, known before anything is decoded: the same pictures, parameters and model give the same answer."""

import hashlib
from collections.abc import Iterable

from service.engine.generator import Generator
from service.pipeline import Upload


def etag(asked: str, generators: Iterable[Generator], uploads: Iterable[Upload]) -> str:
    """Of an answer to `asked`, path and parameters."""
    digest = hashlib.sha256("\n".join([asked, *(generator.model for generator in generators)]).encode())
    for upload in uploads:
        digest.update(f"\n{upload.name}\n".encode() + upload.sha256)
    return f'"{digest.hexdigest()[:32]}"'


def matches(tag: str, if_none_match: str) -> bool:
    """Whether a client has what `tag` stands for. `*` names no answer of ours."""
    return tag in (sent.strip().removeprefix("W/") for sent in if_none_match.split(","))
