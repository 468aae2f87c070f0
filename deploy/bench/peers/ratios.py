"""Prints what each peer took, and how many times what this program takes.

python ratios.py RESULTS.jsonl OUT.json    (this program's result is the last line)
"""

import json
import statistics
import sys
from pathlib import Path


def main() -> None:
    results = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    ours_ms = statistics.median(results[-1]["times_ms"])
    rows = []
    for result in results:
        median_ms = statistics.median(result["times_ms"])
        row = {
            "name": result["name"],
            "median_ms": round(median_ms, 1),
            "times_ours": round(median_ms / ours_ms, 1),
            "found": result["found"],
        }
        rows.append(row)
        print(
            f"{row['name']}: {median_ms:.1f} ms, {row['times_ours']:.1f} times ours, "
            f"{'found' if row['found'] else 'NOT found'}"
        )
    Path(sys.argv[2]).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
