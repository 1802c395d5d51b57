"""rollout alone: a canary of three replicas, step by step, in a fleet that is a value."""

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.simulator import Fleet, Road, Simulation
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType

fleet = Fleet()
fleet.add(release=1, replicas=3)
simulation = Simulation(
    strategy_for(StrategyType.CANARY),
    fleet,
    target=2,
    replicas=3,
    active=1,
    params=RolloutParams(StrategyType.CANARY),
    road=Road(weights={1: 100}, members=frozenset(f"prod.acme.web.v1.{n}" for n in range(3))),
)
simulation.run()
seen = None
for tick in simulation.ticks:
    weights = tick.view.traffic.weights if tick.view.traffic else {}
    if weights != seen:
        print(f"{tick.view.now:%H:%M:%S}", ", ".join(f"v{r} {w}%" for r, w in weights.items()))
        seen = weights
assert seen == {2: 100}
