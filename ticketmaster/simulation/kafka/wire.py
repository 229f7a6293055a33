"""Requests from bytes and answers to bytes, by the very structures that the clients use, each in one version."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol import admin, commit, coordination, fetch, group, metadata, offset, produce, transaction
from aiokafka.protocol.types import CompactArray, CompactString, Int16, TaggedFields, UnsignedVarInt32

from ticketmaster.broker.kafka import protocol

_FINALIZED_FEATURES_TAG: Final = 2
_HEADER: Final = struct.Struct(">hhih")
_SIZE: Final = struct.Struct(">i")
_CORRELATION: Final = struct.Struct(">i")
_FEATURES: Final = CompactArray(("name", CompactString("utf-8")), ("max_version", Int16), ("min_version", Int16), ("tags", TaggedFields))
_API_VERSIONS: Final = 18

_REQUESTS: Final[tuple[Any, ...]] = (
    produce.ProduceRequest_v7,
    protocol.ProduceRequestV12,
    fetch.FetchRequest_v11,
    offset.OffsetRequest_v3,
    metadata.MetadataRequest_v5,
    commit.OffsetFetchRequest_v3,
    coordination.FindCoordinatorRequest_v1,
    group.JoinGroupRequest_v5,
    group.HeartbeatRequest_v1,
    group.LeaveGroupRequest_v1,
    group.SyncGroupRequest_v3,
    admin.ApiVersionRequest_v0,
    protocol.ApiVersionsRequest,
    transaction.InitProducerIdRequest_v0,
    transaction.AddPartitionsToTxnRequest_v0,
    transaction.AddOffsetsToTxnRequest_v0,
    transaction.EndTxnRequest_v0,
    protocol.EndTxnRequestV5,
    transaction.TxnOffsetCommitRequest_v0,
    protocol.TxnOffsetCommitRequestV5,
)
_BY_VERSION: Final = {(request.API_KEY, request.API_VERSION): request for request in _REQUESTS}


class Asked:
    """A request: its struct, and what its answer must carry."""

    def __init__(self, correlation_id: int, client_id: str, request: Any) -> None:  # noqa: ANN401 - any request's struct
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.request = request
        # The name of the request in Kafka's documents.
        self.name: str = type(request).__name__.split("Request", maxsplit=1)[0]

    def answer(self, *fields: object) -> bytes:
        """The frame of an answer with these fields."""
        request = self.request
        flexible = request.FLEXIBLE_VERSION and request.API_KEY != _API_VERSIONS
        data: bytes = request.RESPONSE_TYPE(*fields).encode()
        header = _CORRELATION.pack(self.correlation_id) + (b"\x00" if flexible else b"")
        return _SIZE.pack(len(header) + len(data)) + header + data


def decoded(frame: bytes) -> Asked:
    """The request in a frame."""
    data = BytesIO(frame)
    data.seek(_SIZE.size)
    key, version, correlation_id, name_bytes = _HEADER.unpack(data.read(_HEADER.size))
    client_id = data.read(name_bytes).decode()
    request = _BY_VERSION[key, version]
    if request.FLEXIBLE_VERSION:
        TaggedFields.decode(data)
    return Asked(correlation_id, client_id, request.decode(data))


def versions() -> list[tuple[int, int, int]]:
    """(request, oldest version, newest version) of what is spoken."""
    found: dict[int, list[int]] = {}
    for key, version in _BY_VERSION:
        found.setdefault(key, []).append(version)
    return [(key, min(spoken), max(spoken)) for key, spoken in found.items()]


def feature_tags(transaction_version: int) -> dict[int, bytes]:
    """That the cluster has a version of the feature ``transaction.version`` switched on."""
    features = _FEATURES.encode([("transaction.version", transaction_version, transaction_version, {})])
    # aiokafka reads a tagged field's size, and does not write it.
    return {_FINALIZED_FEATURES_TAG: UnsignedVarInt32.encode(len(features)) + features}
