"""Every controller that runs no workload: it comes to the same end whatever went wrong, and then it rests."""

from __future__ import annotations

import random

import pytest

from tests.cluster.everything import HPA_COMPLAINTS, change, cluster, disturb, picture, populate
from timonel.client.faults import Faults

HOUR = 3600.0


async def end_of(faults: Faults, *, rate: float = 0.0, lag: float = 0.0) -> list[str]:
    """What is left of it all, once everything has gone well again for a while and nobody has written for an hour."""
    dice = random.Random(faults.seed)
    async with cluster(faults) as world:
        faults.rate, faults.lag = rate, lag
        await populate(world)
        await world.pass_by(dice.choice((5, 60)))
        if rate:
            await disturb(world, dice)
        await change(world)
        if rate:
            await disturb(world, dice)
            await world.pass_by(20)
            faults.away = True
            await disturb(world, dice)
            await world.pass_by(60)
            faults.away = False
            await world.pass_by(30)
        faults.rate = faults.lag = 0.0
        await world.pass_by(400)
        assert sum(faults.writes.values()) < 2000
        found = await picture(world)
        faults.writes.clear()
        await world.pass_by(HOUR)
        written = {what: count for what, count in faults.writes.items() if what != HPA_COMPLAINTS}
        assert written == {}
        assert faults.writes[HPA_COMPLAINTS] <= 12
        return found


@pytest.mark.parametrize("seed", range(1, 4))
async def test_the_end_is_the_same_whatever_went_wrong(seed: int) -> None:
    good = await end_of(Faults())
    faults = Faults(seed=seed)
    bad = await end_of(faults, rate=0.2, lag=1.0)

    assert faults.count > 100
    assert len(good) > 50
    assert bad == good
