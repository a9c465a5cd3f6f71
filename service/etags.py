"""ETags of answers, known before anything is decoded: the same pictures, parameters and model give the same answer."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from service.pipeline import Upload


def etag(asked: str, models: Iterable[str], uploads: Iterable[Upload]) -> str:
    """Of an answer to `asked`, path and parameters, by `models`, like `photo2monet/3/int8`. Reads all of the uploads."""
    digest = hashlib.sha256("\n".join([asked, *models]).encode())
    for upload in uploads:
        content = hashlib.sha256()
        if isinstance(upload.source, Path):
            with upload.source.open("rb") as file:
                content = hashlib.file_digest(file, "sha256")
        else:
            content.update(upload.source)
        digest.update(f"\n{upload.name}\n".encode() + content.digest())
    return f'"{digest.hexdigest()[:32]}"'


def matches(tag: str, if_none_match: str) -> bool:
    """Whether a client has what `tag` stands for. `*` names no answer of ours."""
    return tag in (sent.strip().removeprefix("W/") for sent in if_none_match.split(","))
