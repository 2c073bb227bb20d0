"""Headers of HTTP/2 as far as gRPC needs them: requests as literals, answers of a peer that was told to keep no table.

Without a table (SETTINGS_HEADER_TABLE_SIZE 0) the same bytes always mean the same headers. Of the static table only the
status codes matter: no other header that is looked at here is in it.

RFC 7541.
"""

from __future__ import annotations

from collections.abc import Iterable

STATUS = {8: "200", 9: "204", 10: "206", 11: "304", 12: "400", 13: "404", 14: "500"}  # of the static table
STATIC_SIZE = 61

# Appendix B: the code is canonical, so the symbols of each length in order give it. Those that no header here can hold
# are left out; all of them are longer.
_BY_LENGTH = {
    5: b"012aceiost", 6: b" %-./3456789=A_bdfghlmnpru", 7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", 8: b"&*,;XZ",
    10: b'!"()?', 11: b"'+|", 12: b"#>", 13: b"\0$@[]~", 14: b"^}", 15: b"<`{", 19: b"\\",
}  # fmt: skip


class Malformed(Exception):
    """A header block that cannot be read."""


def _codes() -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    code = length = 0
    for size, symbols in _BY_LENGTH.items():
        code <<= size - length
        length = size
        for symbol in symbols:
            found[size, code] = symbol
            code += 1
    return found


CODES = _codes()


def unhuffman(data: bytes) -> bytes:
    out = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            length += 1
            symbol = CODES.get((length, code))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
            elif length > 30:
                raise Malformed("a symbol that no header has")
    if length > 7 or code != (1 << length) - 1:
        raise Malformed("padding that is none")
    return bytes(out)


def _integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = data[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    while True:
        byte = data[at]
        at += 1
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    is_huffman = bool(data[at] & 128)
    length, at = _integer(data, at, 7)
    raw = data[at : at + length]
    if len(raw) < length:
        raise Malformed("a text that ends after its block")
    return (unhuffman(raw) if is_huffman else raw).decode("latin-1"), at + length


def decoded(block: bytes) -> dict[str, str]:
    """Names in lower case; a name of the static table is its number, but for `:status`. Raises Malformed."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(block):
            first = block[at]
            if first & 128:
                index, at = _integer(block, at, 7)
                found[":status" if index in STATUS else str(index)] = STATUS.get(index, "")
            elif first & 224 == 32:
                _, at = _integer(block, at, 5)  # the size of a table that there is not
            else:
                index, at = _integer(block, at, 6 if first & 64 else 4)
                if index > STATIC_SIZE:
                    raise Malformed("an entry of a table that there is not")
                if index:
                    name = ":status" if index in STATUS else str(index)
                else:
                    name, at = _text(block, at)
                found[name], at = _text(block, at)
    except IndexError as error:
        raise Malformed("a block that ends too early") from error
    return found


def encoded(headers: Iterable[tuple[str, str]]) -> bytes:
    """As literals that are not to be indexed."""
    out = bytearray()
    for name, value in headers:
        out.append(0)
        for text in (name.encode(), value.encode()):
            out += _length(len(text)) + text
    return bytes(out)


def _length(number: int) -> bytes:
    if number < 127:
        return bytes((number,))
    out = bytearray((127,))
    number -= 127
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
