"""Capacity planning: the fits, the simulation against queueing theory and against real servers, the limits."""

import asyncio
import json
import math
import random
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession, web
from simpy import Environment

from bench.stress import balancer, capacity, connections, interference, model, planning, reading, table, validate
from bench.stress.balancer import balanced
from bench.stress.holding import open_many
from bench.stress.instance import Answer, SimulatedInstance, Size
from bench.stress.limits import Limit, Machine, balancers, breaks_first, limits, ports
from bench.stress.model import Model, Observed, Picture, Service
from bench.stress.planning import SHARE, Demand, Plan, UnreachableError, attempt, plan, share_matters
from bench.stress.simulation import Autoscaler, Rule, Simulation, Site, simulate
from bench.stress.users import run_users
from bench.stress.usl import Usl, fit_usl
from bench.stress.workload import Result, Workload
from tests.conftest import Serve, StartServer

EXPONENTIAL = tuple((-np.log1p(-np.arange(0.0005, 1, 0.001))).tolist())
"""A thousand ratios to the mean, each equally likely."""


def made_up(service_s: float = 0.02, ratios: tuple[float, ...] = (1.0,), **more: float) -> Model:
    """A model with no cost except the worker's time, unless `more` sets some."""
    costs = {"accept_s": 0.0, "refuse_s": 0.0, "round_trip_s": 0.0} | more
    picture = Picture("one", bytes=100_000, megapixels=1.0)
    return Model((picture,), Service(service_s, 0.0, 0.0, ratios), cores=Usl(1.0), **costs)


# fits


def test_fits_the_curve_to_its_points() -> None:
    true = Usl(50.0, contention=0.03, coherence=0.0005)
    found = fit_usl([(n, true.at(n)) for n in (1, 2, 4, 8, 16, 32, 64)])
    assert (found.rate, found.contention, found.coherence) == pytest.approx((50.0, 0.03, 0.0005), rel=1e-3)
    assert found.peak == pytest.approx(math.sqrt(0.97 / 0.0005), rel=1e-3)


def test_two_points_determine_contention_and_one_neither() -> None:
    assert fit_usl([(1, 60.0), (2, 114.0)]).efficiency(2) == pytest.approx(0.95, rel=1e-3)
    assert fit_usl([(1, 60.0)]).at(2) == pytest.approx(120.0)
    assert fit_usl([(1, 60.0), (2, 114.0)]).peak == math.inf
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_usl([])


def test_fits_service_times_to_size_and_keeps_their_spread() -> None:
    pictures = tuple(Picture(str(side), round(side**2 * 0.2), side**2 / 1e6) for side in (512, 1024, 2048, 4096))
    means = [0.015 + 0.002 * one.megapixels + 0.010 * one.bytes / 1e6 for one in pictures]
    seen = [[0.9 * mean, mean, 1.1 * mean] for mean in means]
    found = model.fit_service(pictures, seen, handover_s=0.0)
    assert [found.mean_s(one) for one in pictures] == pytest.approx(means, rel=1e-6)
    assert (min(found.ratios), max(found.ratios)) == pytest.approx((0.9, 1.1), rel=1e-3)


def test_a_saved_model_loads_unchanged(tmp_path: Path) -> None:
    picture = Picture("a", 1000, 0.5, 2.0)
    seen = Observed((picture,), ((0.01, 0.02),), 0.002, 0.0003, handover_s=0.001, round_trip_s=0.0005)
    fitted = model.fit(seen, [(1, 60.0), (2, 114.0)])
    model.save(fitted, tmp_path / "model.json")
    assert model.load(tmp_path / "model.json") == fitted
    assert fitted.rate(2) == pytest.approx(2 / (0.016 / 0.95 + 0.002), rel=1e-3)


def step(users: int, goodput: float, refused: float, **more: Any) -> dict[str, Any]:
    waits = {"count": 50, "mean_ms": 22.0, "p50_ms": 20.0, "p95_ms": 30.0, "p99_ms": 40.0}
    usage = {"cpu_server": goodput * 0.002 + refused * 0.0004}
    rates = {"users": users, "goodput_per_s": goodput, "refused_per_s": refused}
    return {**rates, "usage": usage, "by_picture": {"a.jpg": waits}} | more


def test_reads_the_measurements_of_a_stress_test(tmp_path: Path) -> None:
    steps = [step(1, 20.0, 0.0), step(10, 55.0, 30.0), step(20, 54.0, 200.0, usage=None), step(0, 0.0, 0.0)]
    document = {"pictures": [{"name": "a.jpg", "bytes": 68_000}], "runs": [{"steps": steps}]}
    for day in ("2030-01-01", "2030-01-02"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "measurements.json").write_text(json.dumps(document))
    newest = reading.newest(tmp_path)
    assert newest
    assert newest.parent.name == "2030-01-02"
    observed, users = reading.read(newest)
    assert (observed.accept_s, observed.refuse_s) == pytest.approx((0.002, 0.0004))
    assert np.mean(observed.services[0]) == pytest.approx(0.020, rel=1e-3)
    assert observed.pictures[0].bytes == 68_000
    assert users.at(10) == pytest.approx(55.0, rel=0.1)


def test_incomplete_measurements_name_the_missing_part(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    for steps, missing in (([], "no step"), ([step(1, 20.0, 0.0, by_picture={})], "single pictures")):
        file.write_text(json.dumps({"pictures": [], "runs": [{"steps": steps}]}))
        with pytest.raises(ValueError, match=missing):
            reading.read(file)


# simulation


def erlang_b(servers: int, offered: float) -> float:
    """The share of requests that find all servers busy."""
    terms = [offered**n / math.factorial(n) for n in range(servers + 1)]
    return terms[-1] / sum(terms)


def test_refusals_without_a_queue_agree_with_erlang() -> None:
    site = Site(1, Size(workers=4, limit=4, cores=math.inf))
    result = simulate(made_up(0.02, EXPONENTIAL), site, Workload(rate=150.0, seconds=150))
    assert result.refusal_rate == pytest.approx(erlang_b(4, 3.0), rel=0.07)


def test_refusals_and_waits_with_a_queue_agree_with_theory() -> None:
    """One server, four in the system, load 0.9."""
    load, site = 0.9, Site(1, Size(workers=1, limit=4, cores=math.inf))
    result = simulate(made_up(0.02, EXPONENTIAL), site, Workload(rate=load / 0.02, seconds=400))
    shares = [load**n * (1 - load) / (1 - load**5) for n in range(5)]
    inside = sum(n * share for n, share in enumerate(shares)) / (load / 0.02 * (1 - shares[4]))
    assert result.refusal_rate == pytest.approx(shares[4], rel=0.1)
    assert np.mean(result.answers) == pytest.approx(inside, rel=0.05)


def test_an_admitted_request_waits_no_longer_than_the_limit_allows() -> None:
    result = simulate(made_up(0.02), Site(1, Size(1, 4, math.inf)), Workload(rate=400.0, seconds=20))
    assert max(result.answers) == pytest.approx(4 * 0.02, rel=1e-2)
    assert max(result.answers) <= 4 * 0.02 + 1e-9
    assert result.throughput == pytest.approx(50.0, rel=0.01)


def test_the_event_loop_takes_its_time_from_the_workers_on_its_core() -> None:
    """Each second: 300 requests arrive, a refusal takes 1 ms, an answer 2 ms and 20 ms of the worker."""
    costly = made_up(0.02, accept_s=0.002, refuse_s=0.001)
    result = simulate(costly, Site(1, Size(1, 4, cores=1)), Workload(rate=300.0, seconds=30))
    answered = (1 - 300 * 0.001) / (0.02 + 0.002 - 0.001)
    assert result.throughput == pytest.approx(answered, rel=0.03)
    asleep = simulate(costly, Site(1, Size(1, 4, cores=math.inf)), Workload(rate=300.0, seconds=30))
    assert asleep.throughput == pytest.approx(50.0, rel=0.01)


def test_the_rate_of_few_users_follows_from_their_think_time_and_waits() -> None:
    result = simulate(
        made_up(0.02), Site(4, Size(4, 16, 4)), Workload(users=100, think_s=(1, 3), seconds=200, warm_up_s=10)
    )
    assert result.throughput == pytest.approx(100 / 2.02, rel=0.02)
    assert result.refused == 0


def test_users_that_honour_retry_after_wait_for_seconds_and_others_do_not() -> None:
    site, workload = Site(1, Size(1, 2, math.inf)), Workload(rate=40.0, seconds=60)
    patient = simulate(made_up(0.02), site, Workload(rate=40.0, seconds=60, retries=True))
    hasty = simulate(made_up(0.02), site, workload)
    assert hasty.waits == hasty.answers
    assert patient.wait_p99_s() > 1 > patient.p99_s()
    assert patient.throughput > hasty.throughput


def at_once(requests: int, size: Size, accept_s: float = 0.0) -> list[int]:
    """The Retry-After of each request when all arrive at one moment; 0 for an answer."""
    environment, answers = Environment(), [Answer() for _ in range(requests)]
    instance = SimulatedInstance(environment, made_up(0.1, accept_s=accept_s), size, random.Random(1))
    for answer in answers:
        environment.process(instance.handle(answer))
    environment.run()
    return [answer.retry_after_s for answer in answers]


def test_admits_no_more_than_the_limit_of_requests_that_arrive_together() -> None:
    assert at_once(20, Size(1, 4, 1), accept_s=0.001).count(0) == 4


@pytest.mark.parametrize(("workers", "seconds"), [(1, 3), (2, 2), (30, 1)])
def test_an_instance_computes_retry_after_as_the_server_does(workers: int, seconds: int) -> None:
    """Thirty requests in flight of a tenth of a second each, and one more."""
    assert set(at_once(31, Size(workers, 30, math.inf))) == {0, seconds}


@pytest.mark.parametrize("rule", ["least_conn", "two_choices"])
def test_waits_behind_a_balancer_are_shorter_than_at_one_instance(rule: Rule) -> None:
    single = simulate(made_up(0.02, EXPONENTIAL), Site(1, Size(1, 8, math.inf)), Workload(rate=40.0, seconds=200))
    many = simulate(made_up(0.02, EXPONENTIAL), Site(16, Size(1, 8, math.inf), rule), Workload(rate=640.0, seconds=10))
    assert np.mean(many.answers) < 0.7 * np.mean(single.answers)


def test_choosing_among_all_instances_is_better_than_among_two() -> None:
    site, workload = Site(16, Size(1, 8, math.inf)), Workload(rate=640.0, seconds=10)
    knowing = simulate(made_up(0.02, EXPONENTIAL), site, workload)
    guessing = simulate(made_up(0.02, EXPONENTIAL), Site(16, site.size, "two_choices"), workload)
    assert np.mean(knowing.answers) < np.mean(guessing.answers)


def test_the_autoscaler_starts_enough_instances_to_end_refusals() -> None:
    """One instance answers 50/s, and 200/s arrive: 200 x 0.02 s / 0.7 are 5.7, so six are needed."""
    scaler = Autoscaler(most=10, target=0.7, period_s=5, start_s=2)
    site = Site(1, Size(1, 8, math.inf), autoscaler=scaler)
    simulation = Simulation(made_up(0.02), site, Workload(rate=200.0, seconds=60, warm_up_s=60))
    assert simulation.run().refused == 0
    assert [instances for at, instances in simulation.history if at > 60][-1] in {6, 7}
    assert simulation.history[1] == (7.0, 2)


@pytest.mark.parametrize(("used", "desired"), [(0.0, 1), (0.35, 2), (0.7, 4), (0.75, 5), (1.0, 6), (5.0, 8)])
def test_the_autoscaler_brings_the_utilisation_to_its_target(used: float, desired: int) -> None:
    assert Autoscaler(most=8, target=0.7).desired(4, used) == desired


def test_the_autoscaler_keeps_one_instance_without_load() -> None:
    simulation = Simulation(
        made_up(), Site(5, Size(1, 4, 1), autoscaler=Autoscaler(most=8)), Workload(users=1, seconds=60)
    )
    simulation.run()
    assert simulation.history[-1][1] == 1


# plans


SIZE = Size(workers=2, limit=8, cores=2)


def test_users_are_refused_until_enough_instances_have_started() -> None:
    fitted = made_up(0.02)
    planned = planning.plan(fitted, Demand(users=600), SIZE)
    growth = planning.follow(fitted, planned, "least_conn", start_s=10.0)
    assert growth.history[0] == (0.0, planned.simulated // 2)
    assert growth.history[1][0] == 25.0  # decided after 15 s, started in 10 s
    assert planned.simulated <= growth.history[-1][1] <= growth.most == 2 * planned.simulated
    assert growth.refused > planned.result.refusal_rate
    line = table.describe_growth(planned, growth)
    assert line.startswith(
        f"* 600 users, for each {planned.simulated} instances of the plan: {planned.simulated // 2}, "
    )
    assert line.endswith(f"; {growth.refused:.1%} of all requests refused in 180 s")


@pytest.mark.parametrize("users", [300, 1000, 2000])
def test_the_plan_is_the_smallest_that_meets_the_targets(users: int) -> None:
    demand = Demand(users, p99_s=0.08, refused=0.001)
    fitted = made_up(0.02, accept_s=0.002, refuse_s=0.0003)
    found = plan(fitted, demand, SIZE)
    assert found.kept
    assert found.result.p99_s() <= 0.08
    assert not attempt(fitted, demand, SIZE, "least_conn", found.instances - 1).kept
    assert found.instances == pytest.approx(users / 2.022 / fitted.rate(2), rel=0.3, abs=2)
    assert found.cores == 2 * found.instances


@pytest.mark.parametrize("least", [1, 2, 30, 31, 500, 501])
def test_the_search_finds_the_least_number_to_one_per_cent(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretended(_: Model, demand: Demand, size: Size, __: Rule, instances: int) -> Plan:
        enough = demand.users == 1 or instances >= least
        return Plan(demand, size, instances, instances, Result(Workload(), answers=[0.01 if enough else 9.9]))

    monkeypatch.setattr(planning, "attempt", pretended)
    found = plan(made_up(0.02), Demand(users=2000), SIZE)
    assert least <= found.instances <= least * 1.01


def test_an_unreachable_target_is_reported() -> None:
    with pytest.raises(UnreachableError, match="no number of instances makes it 10 ms"):
        plan(made_up(0.02), Demand(users=100, p99_s=0.01), SIZE)


def test_the_cost_is_that_of_the_cores_for_a_million_pictures() -> None:
    found = attempt(made_up(0.02), Demand(users=100), SIZE, "least_conn", 1)
    seconds = 1e6 / found.rate
    assert found.cost_per_million(0.04) == pytest.approx(2 * 0.04 * seconds / 3600)


def test_a_share_of_a_million_users_represents_all() -> None:
    fitted, demand = made_up(0.02, EXPONENTIAL[::10]), Demand(users=1_000_000, p99_s=0.2, refused=0.01)
    found = attempt(fitted, demand, SIZE, "two_choices", 6000)
    assert found.simulated == SHARE
    assert found.rate == pytest.approx(1_000_000 / (2 + np.mean(found.result.waits)), rel=0.02)
    assert share_matters(fitted, found, "two_choices") < 0.1


# limits


def test_each_limit_has_the_demand_of_the_plan() -> None:
    found = attempt(made_up(0.02), Demand(users=1000), SIZE, "least_conn", 10)
    machine = Machine(0.0002, 5000, "measured", card_gbit=10, memory_gb=16, cores=8, descriptors=1000)
    by_name = {limit.name: limit for limit in limits(found, 100_000, machine)}
    assert by_name["network card"].asked == pytest.approx(found.rate * 100_500 * 8 * 1.04 / 1e9)
    assert by_name["descriptors"].share == pytest.approx((1000 + 10 * 8) / 8000)
    assert by_name["memory of connections"].asked == pytest.approx(1080 * 5000 / 1e9)
    assert by_name["balancer's CPU"].asked == pytest.approx(found.rate * 0.0002)
    assert by_name["ports, connections not kept"].asked == pytest.approx(found.rate / 10 * 60)


def test_exceeded_limits_are_named_and_determine_the_number_of_balancers() -> None:
    asked = {"ports, all instances at one address": 90, "network card": 30, "descriptors": 12, "memory": 1}
    found = [Limit(name, much, 10, "", "") for name, much in asked.items()]
    assert breaks_first(found) == "network card 300%, descriptors 120%"
    assert balancers(found) == 5
    assert breaks_first(found[3:]) == "memory 10%"


def test_the_range_of_ports_is_that_of_the_system() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert ports() == last - first + 1


def test_the_table_has_a_row_for_each_number_of_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(made_up(0.02, accept_s=0.002, refuse_s=0.0003), tmp_path / "model.json")
    options = ["--model", str(tmp_path / "model.json"), "--connections", "0", "--price", "0.04"]
    assert capacity.main([*options, "--users", "100", "1000000", "--p99", "400", "--refused", "0.01"]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("| 1")]
    assert [line.split(" | ")[0] for line in lines] == ["| 100", "| 1,000,000"]
    assert "network card" in lines[1]
    assert "docs/capacity.md" in printed
    assert capacity.main([*options, "--users", "100", "--p99", "5"]) == capacity.FAILED


# real servers


async def test_counts_the_outcomes_of_real_users(serve: Serve) -> None:
    seen = 0

    async def handle(_: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        if seen == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.Response(status=500 if seen == 2 else 200)

    app = web.Application()
    app.router.add_post("/", handle)
    workload = Workload(rate=10.0, seconds=2.2, warm_up_s=0.0, retries=True)
    result = await run_users(await serve(app), [b"x"], [1.0], workload, seed=1)
    assert (result.refused, result.failed) == (1, 1)
    assert len(result.answers) == seen - 2 == len(workload.arrivals(1)) - 1
    assert sum(wait > 1.0 for wait in result.waits) == 1


async def test_nginx_chooses_the_instance_with_fewest_connections(
    serve: Serve, client: ClientSession, tmp_path: Path
) -> None:
    if reason := balancer.missing():
        pytest.skip(reason)
    arrived, go = asyncio.Event(), asyncio.Event()

    def instance(name: str) -> web.Application:
        async def handle(request: web.Request) -> web.Response:
            if request.path == "/wait":
                arrived.set()
                await go.wait()
            return web.Response(text=name)

        app = web.Application()
        app.router.add_post("/{any}", handle)
        return app

    urls = [await serve(instance("a")), await serve(instance("b"))]
    with balanced(urls, "least_conn", tmp_path, set()) as front:

        async def ask(path: str) -> str:
            async with client.post(front.url + path, data=b"x") as response:
                return await response.text()

        waiting = asyncio.create_task(ask("/wait"))
        await arrived.wait()
        others = {await ask("/go") for _ in range(6)}
        go.set()
        assert {await waiting} | others == {"a", "b"}
        assert len(others) == 1


def test_holds_connections_and_measures_their_memory(start: StartServer) -> None:
    held = connections.hold("server", start("[inference]\nworkers = 1\npool = 'thread'\n"), 400)
    assert (held.connections, held.reason) == (400, "")
    assert 1_000 < held.server_bytes < 200_000
    assert "400 connections open at once; each takes" in held.line()


def serve_nothing(listener: socket.socket) -> None:
    """Close the connection of one client without an answer."""
    accepted, _ = listener.accept()
    with accepted:
        accepted.recv(4096)


def test_a_failed_connection_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = listener.getsockname()
        server = threading.Thread(target=serve_nothing, args=(listener,))
        server.start()
        assert open_many(to, "127.0.0.2", 5, 10.0) == ([], "The connection was opened but got no answer.")
        server.join()
    assert open_many(to, "127.0.0.2", 5, 10.0) == ([], "[Errno 111] Connection refused")


def test_repeats_a_measurement_while_other_programs_disturb_it(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter([(0.0, 0.0), (1.5, 2.0), (2.0, 2.0), (3.02, 4.0)])
    ours = iter([0.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr(interference, "_machine_s", lambda: next(busy))
    monkeypatch.setattr(interference, "_ours_s", lambda: next(ours))
    made = iter("abc")
    found, share = interference.undisturbed(lambda: next(made), 3)
    assert (found, round(share, 6)) == ("b", 0.01)


def test_counts_its_own_cpu_as_its_own() -> None:
    others, before = interference.Others(), interference._ours_s()
    sum(range(3_000_000))
    assert interference._ours_s() > before
    assert 0 <= others.share <= 1


def test_predictions_agree_with_a_real_server_and_nginx() -> None:
    """The limits are twice the permitted error, and ten times the wait, because the machine may be busy."""
    if reason := balancer.missing():
        pytest.skip(reason)
    options = validate.MeasureOptions(seconds=1.5)
    fitted = validate.learn(validate.SLEEPING, options)
    rows = [row for n in (1, 2) for row in validate.compare(fitted, validate.SLEEPING, n, (0.7, 1.5), (), options)]
    assert len(rows) == 4
    for row in rows:
        assert abs(row.off["throughput"]) < 0.3, row.line()
        assert 0.1 < 1 + row.off["P99"] < 10, row.line()
    assert validate.verdict([]) == 0
