"""The command line of the checks of a cluster."""

import argparse
import asyncio
import sys

from tests.cluster.checks import CHECKS, Nodes


async def run(urls: list[str], rounds: int, only: list[str]) -> list[str]:
    """Run the checks, print a line of figures for each, and return what went wrong."""
    problems: list[str] = []
    async with Nodes(urls) as nodes:
        for check in CHECKS:
            if only and check.__name__ not in only:
                continue
            for n in range(rounds):
                figures = await check(nodes, problems)
                print(f"{check.__name__} {n + 1}/{rounds}: {figures}", flush=True)
    return problems


def main() -> int:
    """Run the checks. Return 1 if something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("urls", nargs="*", help="the URL of each node, with the credentials of an administrator")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], choices=[check.__name__ for check in CHECKS])
    options = parser.parse_args()
    if not options.urls:
        print("No cluster: give the URL of each node, such as http://admin:admin@localhost:5984.")
        return 0
    problems = asyncio.run(run(options.urls, options.rounds, options.only))
    print("\n".join(problems) or "as expected")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
