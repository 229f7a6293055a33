"""What a state store promises of a look through it: pieces in the order of the keys, of those values that have a part somewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.conftest import OpenStateStores
from tests.support.stores import NAME, done, write
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import Scanned, Update


def test_a_store_is_looked_through_in_pieces_in_the_order_of_its_keys(open_stores: OpenStateStores) -> None:
    stores = open_stores()
    write(stores, {NAME: Update({b"b": b"1x", b"a": b"2", b"\xff": b"x", b"": b"x3", b"ab": b"\x00x\x00"}, 1)})
    table = stores.table(NAME)

    assert table.scan(b"", b"x", 2) == Scanned([(b"ab", b"\x00x\x00")], b"ab")
    assert table.scan(b"ab", b"x", 2) == Scanned([(b"b", b"1x"), (b"\xff", b"x")], None)
    assert table.scan(b"", b"", 9) == Scanned([(b"a", b"2"), (b"ab", b"\x00x\x00"), (b"b", b"1x"), (b"\xff", b"x")], None)
    assert table.scan(b"\xff", b"", 2) == Scanned([], None)
    stores.close()


KEYS = st.sampled_from([bytes([number]) for number in range(1, 12)])
VALUES = st.sampled_from([None, b"x", b"ax", b"a"])


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=6), min_size=4, max_size=4), st.integers(1, 4))
def test_a_look_finds_all_that_is_committed_whatever_is_written_already(layers: list[dict[bytes, bytes | None]], rows_max: int) -> None:
    overlays = Overlays(MemoryStores(), (NAME,))
    overlay = overlays[NAME]
    for number, layer in enumerate(layers):
        for key, value in layer.items():
            overlay.put(key, value)
        overlay.commit(number)
        if number < len(layers) - 1:
            done(overlays.writing_behind())

    rows: list[tuple[bytes, bytes]] = []
    after: bytes | None = b""
    while after is not None:
        items, after = overlay.scan(after, b"x", rows_max)
        rows += items

    found = {key: overlay.get(key) for key in (bytes([number]) for number in range(1, 12))}
    assert rows == [(key, value) for key, value in found.items() if value is not None and b"x" in value]
