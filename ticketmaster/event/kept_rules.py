"""The rules of events as one partition keeps them: once for all areas of an event that live there, whether they are open yet or not."""

from __future__ import annotations

from weakref import WeakValueDictionary

from ticketmaster.streams.topology import State
from ticketmaster.wire.rules import NO_AREA_RULES, AreaRules, read_rules


class KeptRules:
    """The rules of an event, as all of its areas that are in memory share them."""

    __slots__ = ("__weakref__", "hold", "may_refuse", "rules")

    def __init__(self, rules: AreaRules = NO_AREA_RULES) -> None:
        self.keep(rules)

    def keep(self, rules: AreaRules) -> None:
        """All areas sell by these rules from now on."""
        self.rules = rules
        # At hand, as each command asks for them.
        self.hold, self.may_refuse = rules.hold, rules.may_refuse


class RulesByEvent:
    """Of one partition. Rules stay in memory as long as an area of their event does."""

    def __init__(self) -> None:
        self._shared: WeakValueDictionary[bytes, KeptRules] = WeakValueDictionary()

    def of(self, event: bytes, known: State) -> KeptRules:
        """Those that an area of this event goes by, now and later. UNREADABLE: those that are kept are."""
        shared = self._shared.get(event)
        if shared is None:
            kept = known.get(event)
            shared = self._shared[event] = KeptRules() if kept is None else KeptRules(read_rules(kept))
        return shared

    def tell(self, event: bytes, rules: bytes, known: State) -> None:
        """Keeps rules if they are newer than those that are kept, whichever of them comes first. UNREADABLE: some are."""
        shared, new = self.of(event, known), read_rules(rules)
        if shared.rules.revision < new.revision:
            known.put(event, rules)
            shared.keep(new)
