"""BMP."""

from pictures.parts import Parts


def parts(content: bytes) -> Parts:
    return Parts(content, orientation=1)
