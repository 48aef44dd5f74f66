#!/usr/bin/env python3
"""Dye against PyTorch on one GPU, from measurements in turns: the table of ratios.

    gpu_ratio.py FILE...     lines of JSON: {"who": "dye"|"torch", "case": NAME, "round": N, "ms": MS,
                             "batch": B, "peak_gb": GB, "first_s": S, "how": TEXT}
    gpu_ratio.py dye CASE ROUND BATCH BENCH.json     such a line from what dye bench --json wrote
    gpu_ratio.py torch CASE ROUND PEER.json          such a line from what dit_gpu_peer.py printed

A ratio is PyTorch's step over Dye's, of the medians within a round; the table has the median, the least
and the largest over the rounds.
"""
import json
import statistics
import sys


def phase(path, name):
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if record.get("phase") == name:
                return record
    raise SystemExit(f"gpu_ratio.py: {path} has no phase {name}")


def from_dye(case, number, batch, path):
    step = phase(path, "step")
    return {"who": "dye", "case": case, "round": int(number), "ms": step["figures"]["step_ms"],
            "batch": int(batch), "how": step["machine"]["device"]}


def from_torch(case, number, path):
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.startswith("{")]
    good = [line for line in lines if "step_ms_median" in line]
    if not good:
        raise SystemExit(f"gpu_ratio.py: PyTorch was not timed: {lines[:1]}")
    best = min(good, key=lambda line: line["step_ms_median"])
    return {"who": "torch", "case": case, "round": int(number), "ms": best["step_ms_median"],
            "batch": best["batch"], "peak_gb": best["peak_mem_gb"], "first_s": best["first_step_s"],
            "gflop": best["gflop_per_sample"],
            "how": f"{best['mode']}, {best['sdpa']}, torch {best['torch']}"}


def table(lines):
    rows = ["| case | rounds | Dye ms | PyTorch ms | ratio | least to largest | PyTorch |",
            "|---|--:|--:|--:|--:|---|---|"]
    for case in dict.fromkeys(line["case"] for line in lines):
        ratios, all_ms = [], {"dye": [], "torch": []}
        numbers = sorted({line["round"] for line in lines if line["case"] == case})
        for number in numbers:
            ms = {who: [line["ms"] for line in lines
                        if (line["case"], line["round"], line["who"]) == (case, number, who)]
                  for who in all_ms}
            for who, values in ms.items():
                all_ms[who] += values
            if ms["dye"] and ms["torch"]:
                ratios.append(statistics.median(ms["torch"]) / statistics.median(ms["dye"]))
        how = next((line["how"] for line in lines
                    if line["case"] == case and line["who"] == "torch"), "")
        if ratios:
            rows.append(f"| {case} | {len(ratios)} | {statistics.median(all_ms['dye']):.2f} |"
                        f" {statistics.median(all_ms['torch']):.2f} | {statistics.median(ratios):.2f} |"
                        f" {min(ratios):.2f} to {max(ratios):.2f} | {how} |")
    return "\n".join(rows)


def main():
    words = sys.argv[1:]
    if words[:1] == ["dye"] and len(words) == 5:
        print(json.dumps(from_dye(*words[1:])))
    elif words[:1] == ["torch"] and len(words) == 4:
        print(json.dumps(from_torch(*words[1:])))
    elif words and words[0] not in ("dye", "torch"):
        lines = []
        for path in words:
            with open(path, encoding="utf-8") as file:
                lines += [json.loads(line) for line in file if line.strip()]
        print(table(lines))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
