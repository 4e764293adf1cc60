"""What a behaviour promises besides, where it moves the others in closed loop (``SupportsReaction``)."""

from __future__ import annotations

from typing import Any

from wetoolkit.errors import WetoolkitError
from wetoolkit.kinds import SupportsReaction
from wetoolkit.testing.compare import difference
from wetoolkit.testing.contracts import Contract, promise, skip
from wetoolkit.types import Clock, Reaction, Scene


class ReactingContract(Contract):
    """``scene`` gives one to react in; ``another_future`` (or ``examples``) its world with another time to come."""

    def scene(self) -> Scene[Any]:
        return self.given("def scene(self): return Scene(...)").scenes()[-1]

    def members(self, world: Any) -> Any:
        """Who is in a world, in any order."""
        return self.given("def members(self, world): return world.agents.ids").members(world)

    def another_future(self, world: Any, step: int) -> Any:
        """The world with everything after ``step`` changed; None leaves that promise out."""
        return self.examples.another_future(world, step) if self.examples else None

    def moments(self) -> tuple[list[Any], list[Clock], list[int]]:
        """Worlds, clocks and seeds to react at: the scene now, and some steps earlier with another seed."""
        scene = self.scene()
        earlier = max(scene.clock.now - 2, 0)
        return [scene.world] * 2, [scene.clock, scene.clock.at(earlier)], [3, 4]

    def _reacts(self) -> Any:
        part = self.make()
        if not isinstance(part, SupportsReaction):
            skip("moves nobody in closed loop")
        return part

    def test_reactions_are_valid(self) -> None:
        part, (worlds, clocks, seeds) = self._reacts(), self.moments()
        found, name = part.react(worlds, clocks, seeds), "reactions are valid"
        promise(len(found) == len(worlds), name, f"{len(found)} for {len(worlds)} worlds")
        for world, reaction in zip(worlds, found, strict=True):
            promise(isinstance(reaction, Reaction), name, f"{type(reaction).__name__} is no wetoolkit.types.Reaction")
            try:
                reaction.validate(len(self.members(world)), reaction.states.shape[-1])
            except WetoolkitError as error:
                promise(False, name, str(error))

    def test_a_batch_of_reactions_equals_its_singles(self) -> None:
        part, (worlds, clocks, seeds) = self._reacts(), self.moments()
        together = part.react(worlds, clocks, seeds)
        for i, one in enumerate(together):
            (alone,) = self.make().react(worlds[i : i + 1], clocks[i : i + 1], seeds[i : i + 1])
            found = difference(one, alone, self.tolerance)
            promise(not found, "a batch of reactions equals its singles", f"world {i}: {found}")

    def test_reactions_do_not_see_the_future(self) -> None:
        part, (worlds, clocks, seeds) = self._reacts(), self.moments()
        others = [self.another_future(world, clock.now) for world, clock in zip(worlds, clocks, strict=True)]
        if any(other is None for other in others):
            skip("another_future() is not given")
        found = difference(list(part.react(worlds, clocks, seeds)), list(part.react(others, clocks, seeds)), self.tolerance)
        promise(not found, "reactions do not see the future", found)


__all__ = ["ReactingContract"]
