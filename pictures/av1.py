"""AV1: read the colours from the stream, for AVIFs whose boxes do not state them (AV1 specification, 5.5)."""

from collections.abc import Callable

_SEQUENCE_HEADER = 1


def read_colour_numbers(stream: bytes) -> tuple[int, int] | None:
    """Return the H.273 code points of primaries and transfer curve.

    Returns None if the stream does not state them, does not start with a sequence header, or has timing information, which pictures lack.
    """
    at = 0
    while at + 2 <= len(stream):
        head, size = stream[at], stream[at + 1]
        if head & 0x86 != 0x02 or size & 0x80:  # an extension, a size of several bytes, or no size
            return None
        if head >> 3 == _SEQUENCE_HEADER:
            return _read_sequence_header(stream[at + 2 : at + 2 + size])
        at += 2 + size
    return None


def _read_sequence_header(header: bytes) -> tuple[int, int] | None:
    take = _bit_reader(header)
    profile, _, reduced = take(3), take(1), take(1)
    if reduced:
        take(5)
    else:
        if take(1):
            return None
        has_delay = take(1)
        for _ in range(take(5) + 1):
            take(12)
            if take(5) > 7:
                take(1)
            if has_delay and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    take(width_bits + height_bits)
    if not reduced and take(1):
        take(7)
    take(3)
    if not reduced:
        take(4)
        has_order_hint = take(1)
        take(2 * has_order_hint)
        tools = 2 if take(1) else take(1)
        if tools and not take(1):
            take(1)
        take(3 * has_order_hint)
    take(3)
    deep = take(1)
    if profile == 2 and deep:
        take(1)
    if profile != 1:
        take(1)
    return (take(8), take(8)) if take(1) else None


def _bit_reader(content: bytes) -> Callable[[int], int]:
    """Return a function that reads the next bits, highest first, and zeros after the end."""
    number, left = int.from_bytes(content.ljust(64, b"\0")[:64], "big"), 512

    def take(count: int) -> int:
        nonlocal left
        left -= count
        return number >> max(left, 0) & ((1 << count) - 1)

    return take
