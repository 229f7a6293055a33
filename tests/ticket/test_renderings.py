"""Documents are rendered once a version, and no more of them are kept than fit."""

from __future__ import annotations

from msgspec import Struct

from ticketmaster.ticket.renderings import Renderings


class Text(Struct):
    """A view."""

    text: str


def test_a_document_is_rendered_once_a_version() -> None:
    renderings, rendered = Renderings(), []

    def render() -> Text:
        rendered.append(1)
        return Text("seats")

    documents = [renderings.get(("map", "A"), version, render) for version in (1, 1, 2, 2, 1)]

    assert len(rendered) == 3
    assert documents == [(b'{"text":"seats"}', documents[0].tag)] * 5


def test_a_document_that_says_something_else_has_another_tag() -> None:
    renderings = Renderings()

    one, other = (renderings.get(("map", text), 1, lambda text=text: Text(text)) for text in "ab")  # type: ignore[misc]

    assert one.tag != other.tag
    assert one.tag[0] == one.tag[-1] == '"'


def test_those_asked_for_last_are_kept_up_to_the_limit_in_bytes() -> None:
    renderings, rendered = Renderings(kept_bytes_max=10_000), []

    def ask(number: int, size: int = 1_000) -> None:
        def render() -> Text:
            rendered.append(number)
            return Text("x" * size)

        renderings.get(("map", str(number)), 1, render)
        assert 0 < renderings.kept_bytes <= 10_000

    for number in (1, 2, 3, 4, 1, 5, 6):
        ask(number)
    # 1 was asked for again, so that 2 and 3 had to go.
    rendered.clear()
    for number in (1, 6, 5, 4):
        ask(number)
    assert rendered == []
    ask(2)
    assert rendered == [2]


def test_a_document_above_the_limit_is_answered_and_not_kept() -> None:
    renderings = Renderings(kept_bytes_max=10_000)

    document = renderings.get(("map",), 1, lambda: Text("x" * 20_000))

    assert len(document.body) > 20_000
    assert renderings.kept_bytes == 0


def test_a_new_version_takes_the_place_of_the_last_one() -> None:
    renderings = Renderings()
    for version in range(1_000):
        renderings.get(("map",), version, lambda: Text("x" * 1_000))

    assert renderings.kept_bytes < 5_000
