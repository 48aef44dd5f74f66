#!/usr/bin/env python3
"""Whether the table of `dye bench --only step` adds up: bench_rows.py BENCH.json FLOPS

Shares of families to a step, operations to their family, floors to the floor of the step; and FLOPS is what
the products of a step are short of three forward passes, as gradients of the inputs that nobody wants.
"""
import json
import sys


def near(a, b, what):
    if abs(a - b) > 1e-9 * max(abs(a), abs(b), 1):
        raise SystemExit(f"bench_rows.py: {what}: {a} is not {b}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        record = next(r for r in map(json.loads, file) if r["phase"] == "step")
    families, parts = [], {}
    for row in record["rows"]:
        if row["name"].startswith(" "):
            parts.setdefault(families[-1]["name"], []).append(row)
        else:
            families.append(row)
    for family in families:
        for column in ("ms a step", "% of it", "GFLOP", "MB", "floor ms"):
            operations = parts.get(family["name"])
            if operations is not None:
                near(sum(row.get(column, 0) for row in operations), family.get(column, 0), f"{family['name']}, {column}")
    figures, ratios = record["figures"], record["ratios"]
    near(sum(row["% of it"] for row in families), 100, "shares of a step")
    near(sum(row["ms a step"] for row in families), figures["timed_step_ms"], "the step")
    near(sum(row.get("floor ms", 0) for row in families), figures["floor_ms"], "the floor")
    near(figures["step_ms"] / figures["floor_ms"], ratios["step_over_floor"], "step over floor")
    made = 1e9 * sum(row.get("GFLOP", 0) for row in families)
    near(made + float(sys.argv[2]), 1e6 * figures["model_gflops"] * figures["step_ms"], "three forward passes")
    print(f"{len(families)} rows, {made:.0f} FLOP")


if __name__ == "__main__":
    main()
