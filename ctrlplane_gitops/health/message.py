"""The two messages of ``grpc.health.v1.Health/Check`` as bytes.

Each has one field. The official library would bring protobuf along, whose version it prescribes,
and 12 ms and 3 MiB. Source: ``grpc/health/v1/health.proto`` and protobuf's "Encoding".
"""

from __future__ import annotations


def encode_request(service: str) -> bytes:
    """``HealthCheckRequest``: the service as field 1, left out where it is empty.

    >>> encode_request(""), encode_request("shop.v1.Cart")
    (b'', b'\\n\\x0cshop.v1.Cart')
    """
    text = service.encode()
    return b"\n" + _encode_varint(len(text)) + text if text else b""


def decode_status(message: bytes) -> int:
    """The number of ``HealthCheckResponse.status``, which is field 1, or 0 where it is left out.
    Other fields are skipped. ValueError for what is no message.

    >>> decode_status(b"\\x08\\x01"), decode_status(b"")
    (1, 0)
    """
    status, place = 0, 0
    while place < len(message):
        tag, place = _decode_varint(message, place)
        match tag & 7:
            case 0:  # A number.
                value, place = _decode_varint(message, place)
                if tag >> 3 == 1:
                    status = value
            case 1:  # Eight bytes.
                place += 8
            case 2:  # A length, and as many bytes.
                length, place = _decode_varint(message, place)
                place += length
            case 5:  # Four bytes.
                place += 4
            case kind:
                raise ValueError(f"{kind} is no kind of field")
    if place > len(message):
        raise ValueError("the message is cut off")
    return status


def _encode_varint(number: int) -> bytes:
    """Seven bits to a byte, the low ones first; the eighth says that more follow.

    >>> _encode_varint(300)
    b'\\xac\\x02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _decode_varint(message: bytes, place: int) -> tuple[int, int]:
    """The number, and where it ends.

    >>> _decode_varint(b"\\xac\\x02", 0)
    (300, 2)
    """
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("the message is cut off")
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number is too long")
