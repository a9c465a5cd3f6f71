"""AV1: the colours in the stream, which count if an AVIF's boxes have none (AV1 specification, 5.5)."""

from collections.abc import Callable

_SEQUENCE_HEADER = 1


def colour_numbers(stream: bytes) -> tuple[int, int] | None:
    """Return H.273's code points of primaries and curve. None if the stream does not state them, does not start with a header, or has
    timing, unlike pictures."""
    at = 0
    while at + 2 <= len(stream):
        head, size = stream[at], stream[at + 1]
        if head & 0x86 != 0x02 or size & 0x80:  # an extension, a size of several bytes, or no size
            return None
        if head >> 3 == _SEQUENCE_HEADER:
            return _of_sequence(stream[at + 2 : at + 2 + size])
        at += 2 + size
    return None


def _of_sequence(header: bytes) -> tuple[int, int] | None:
    take = _bits(header)
    profile, _, reduced = take(3), take(1), take(1)
    if reduced:
        take(5)
    else:
        if take(1):
            return None
        with_delay = take(1)
        for _ in range(take(5) + 1):
            take(12)
            if take(5) > 7:
                take(1)
            if with_delay and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    take(width_bits + height_bits)
    if not reduced and take(1):
        take(7)
    take(3)
    if not reduced:
        take(4)
        ordered = take(1)
        take(2 * ordered)
        tools = 2 if take(1) else take(1)
        if tools and not take(1):
            take(1)
        take(3 * ordered)
    take(3)
    deep = take(1)
    if profile == 2 and deep:
        take(1)
    if profile != 1:
        take(1)
    return (take(8), take(8)) if take(1) else None


def _bits(content: bytes) -> Callable[[int], int]:
    """Return a function that reads the next bits, highest first; zeros after the end."""
    number, left = int.from_bytes(content.ljust(64, b"\0")[:64], "big"), 512

    def take(count: int) -> int:
        nonlocal left
        left -= count
        return number >> max(left, 0) & ((1 << count) - 1)

    return take
