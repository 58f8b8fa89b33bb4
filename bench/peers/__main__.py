"""Compares the same pipeline behind other servers and behind faceattr_aio, one after the other on one core, with the
load on another.

    python -m bench.peers --rounds 3 --seconds 10 [--only flask --only aiohttp] [--waiting 3]

The table is printed at the end; for a server that is not installed or does not start it gives the reason.
Exit status 3: the machine was too unsteady.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from bench.load.overload import INCONCLUSIVE, STEADY
from bench.peers.catalogue import PEERS, Peer
from bench.peers.limits import WAITING
from bench.peers.measuring import Measured, PeerFailedError, measure
from bench.peers.table import lines, spread
from bench.support.served import server_core


async def compare(peers: Sequence[Peer], rounds: int, seconds: float, waiting: int) -> bool:
    """Print the table. Return whether the machine was steady. Each round measures all servers, so that drift affects
    all.
    """
    measured: dict[str, list[Measured]] = {peer.name: [] for peer in peers}
    failed = {peer.name: f"{' and '.join(peer.missing())} not installed" for peer in peers if peer.missing()}
    with server_core() as core:
        for number in range(rounds):
            for peer in peers:
                if peer.name in failed:
                    continue
                print(f"round {number + 1}: {peer.name}", file=sys.stderr, flush=True)
                try:
                    measured[peer.name].append(await measure(peer, core, waiting, seconds))
                except PeerFailedError as failure:
                    failed[peer.name] = str(failure)
    print("\n".join(lines(peers, measured, failed)))
    return all(spread(one) <= STEADY for one in measured.values() if one)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers")
    parser.add_argument("--only", action="append", choices=[peer.name for peer in PEERS], help="may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    parser.add_argument("--waiting", type=int, default=WAITING, help="limit of the peers' queues, where they have one")
    chosen = parser.parse_args(arguments)
    peers = [peer for peer in PEERS if not chosen.only or peer.name in chosen.only]
    # asyncio's own loop, because uvloop's clock has a resolution of a millisecond.
    if not asyncio.run(compare(peers, chosen.rounds, chosen.seconds, chosen.waiting)):
        print("inconclusive: the machine was too unsteady")
        return INCONCLUSIVE
    return 0


if __name__ == "__main__":
    sys.exit(main())
