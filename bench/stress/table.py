"""Formats the model of an instance and the table of plans by number of users with the first bottleneck as Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.stress.instance import Size
from bench.stress.limits import Limit, balancers, breaks_first
from bench.stress.model import Model
from bench.stress.planning import Growth, Plan


@dataclass(frozen=True)
class Row:
    """A plan with the limits of a balancer in front of it."""

    plan: Plan
    limits: list[Limit]
    price: float | None

    def line(self) -> str:
        plan, result = self.plan, self.plan.result
        cells = [
            f"{plan.demand.users:,}",
            f"{plan.rate:,.0f}",
            f"{plan.instances:,}",
            f"{plan.cores:,}",
            f"{result.p99_s() * 1e3:.0f}",
            f"{result.refusal_rate:.2%}",
            f"{next(limit.asked for limit in self.limits if limit.unit == 'Gbit/s'):,.2f}",
            f"{balancers(self.limits):,}",
            *([f"{plan.cost_per_million(self.price):,.2f}"] if self.price is not None else []),
            breaks_first(self.limits),
        ]
        return f"| {' | '.join(cells)} |"


def head(price: float | None) -> str:
    titles = ["users", "pictures/s", "instances", "cores", "P99 ms", "refused", "Gbit/s", "balancers"]
    titles += ["cost of a million"] if price is not None else []
    titles += ["with one balancer: limits exceeded, or the nearest limit"]
    return f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"


def describe_model(model: Model, size: Size) -> Iterator[str]:
    service, cores = model.service, model.cores
    yield f"A picture takes a worker {model.mean_s * 1e3:.1f} ms: {service.fixed_s * 1e3:.1f} fixed,"
    yield f"plus {service.per_megapixel_s * 1e3:.2f} for each megapixel, {service.per_megabyte_s * 1e3:.2f} a megabyte."
    yield f"The event loop takes {model.accept_s * 1e3:.2f} ms for an answer, {model.refuse_s * 1e3:.2f} for a refusal."
    yield f"Cores of one machine: contention {cores.contention:.4f}, coherence {cores.coherence:.5f}."
    yield f"{size.workers} cores answer {model.rate(size.workers):.1f} pictures/s of {model.mean_bytes / 1e3:.0f} KB."


def describe_growth(plan: Plan, growth: Growth) -> str:
    (_, first), *later = growth.history
    steps = ", ".join(f"{instances} after {at:.0f} s" for at, instances in later)
    return (
        f"* {plan.demand.users:,} users, for each {plan.simulated} instances of the plan: {first}, "
        f"{steps or 'no change'}; {growth.refused:.1%} of all requests refused in {growth.seconds:.0f} s"
    )


def describe_limits(limits: list[Limit]) -> Iterator[str]:
    for limit in limits:
        yield f"* {limit.name}: {limit.asked:,.3g} of {limit.most:,.3g} {limit.unit} ({limit.source})"
