#!/usr/bin/env python3
"""What the controller of a job costs at up to 1,024 nodes, on paper: the table of docs/scaling.md.

    controller_load.py [--nodes N,N,...] [--ranks-per-node R] [--period S] ... [--check FILE]

Every number is an argument: --help lists them with what docs/scaling.md takes for granted. --check
looks whether FILE holds the table that these arguments give, and ends with 1 if it does not.
"""
import argparse
import math
import sys

# name, default, unit and meaning
ASSUMPTIONS = [
    ("ranks-per-node", 8, "ranks of a node"),
    ("period", 0.25, "s between two reports of a rank, where that is not too many"),
    ("reports-most", 2000, "reports a second that ranks then keep to, by longer periods"),
    ("report-bytes", 704, "bytes of a report"),
    ("places", 2, "places that each report is sent to (rank 0 is one)"),
    ("frame-bytes", 80, "bytes around a report on the wire: ZMTP, TCP, IP and Ethernet, alone in a packet"),
    ("message-us", 40.0, "us of a core to receive a report and note it"),
    ("entry-bytes", 208, "bytes of a rank in the table of ranks"),
    ("hello-bytes", 2404, "bytes of a rank in the exchange at the start"),
    ("connect-us", 400.0, "us of a core to accept a connection"),
    ("hop-us", 20.0, "us of one message from rank to rank, software included"),
    ("link-gb", 1.0, "GB/s of a node's link"),
    ("fan-out", 2, "children of a rank in a tree"),
    ("status-bytes", 240, "bytes of a rank in the status file"),
    ("status-ranks", 64, "ranks that it lists"),
    ("grains-per-rank", 2, "grains of a rank: numbers on the board of a step"),
    ("board-fields", 7, "further numbers of a rank on it"),
]
NODES = [1, 2, 8, 32, 128, 512, 1024]


def read_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", default=",".join(map(str, NODES)), help="rows of the table")
    parser.add_argument("--check", metavar="FILE", help="does FILE hold this table?")
    for name, default, meaning in ASSUMPTIONS:
        parser.add_argument("--" + name, type=type(default), default=default,
                            help=f"{meaning} ({default})")
    return parser.parse_args(words)


def load(a, nodes):
    """One row: what a job of so many nodes costs, at rank 0 where no other place is named."""
    ranks = nodes * a.ranks_per_node
    messages = ranks / max(a.period, ranks / a.reports_most)
    link = a.link_gb * 1e9
    # Each round doubles what a rank knows; all of it passes its node's link once a rank.
    rounds = math.ceil(math.log2(ranks)) if ranks > 1 else 0
    exchange = rounds * a.hop_us * 1e-6 + a.ranks_per_node * ranks * a.hello_bytes / link
    depth, reached, wide = 0, 1, 1
    while reached < ranks:
        depth, wide = depth + 1, wide * a.fan_out
        reached += wide
    return {
        "nodes": f"{nodes:,}",
        "ranks": f"{ranks:,}",
        "reports/s": f"{messages:,.0f}",
        "MB/s in": f"{messages * (a.report_bytes + a.frame_bytes) / 1e6:.2f}",
        "MB/s, all places": f"{a.places * messages * (a.report_bytes + a.frame_bytes) / 1e6:.2f}",
        "of a core": f"{100 * messages * a.message_us * 1e-6:.2f} %",
        "table": f"{ranks * a.entry_bytes / 1024:,.0f} KiB",
        "connections": f"{1e3 * ranks * a.connect_us * 1e-6:,.1f} ms",
        "exchange": f"{1e3 * exchange:,.2f} ms",
        "tree": f"{1e3 * depth * a.fan_out * a.hop_us * 1e-6:.2f} ms",
        "status file": f"{min(ranks, a.status_ranks) * a.status_bytes / 1024:,.0f} KiB",
        "board": f"{8 * ranks * (a.grains_per_rank + a.board_fields) / 1024:,.1f} KiB",
    }


def table(a):
    rows = [load(a, int(nodes)) for nodes in a.nodes.split(",")]
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "--:|" * len(names)]
    return lines + ["| " + " | ".join(row.values()) + " |" for row in rows]


def main():
    a = read_arguments(sys.argv[1:])
    text = "\n".join(table(a))
    if a.check is None:
        print(text)
        return 0
    with open(a.check, encoding="utf-8") as file:
        if text in file.read():
            return 0
    print(f"{a.check} does not hold the table of these arguments:\n{text}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
