"""Objects in protobuf: `application/vnd.kubernetes.protobuf`, the form that kubectl and Go components prefer.

A body is a magic number and a runtime.Unknown with kind, apiVersion and the object's message. `decode` reads bodies and
messages, `encode` writes them. Both take `lookup(name)`, which gives a message's fields as (number, name, kind); the
kinds are those of `timonel.schema.protobuf`.
"""

from __future__ import annotations

from timonel.machinery.protobuf.decode import MAGIC, Decoder, Envelope, Lookup, unwrap
from timonel.machinery.protobuf.encode import Encoder, watch_event, wrap

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

__all__ = ["MAGIC", "MEDIA_TYPE", "Decoder", "Encoder", "Envelope", "Lookup", "unwrap", "watch_event", "wrap"]
