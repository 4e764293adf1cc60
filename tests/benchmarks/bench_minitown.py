"""CPU seconds for a thousand 10-second windows of minitown, generation included, one core. Nothing is read from a cache."""

from __future__ import annotations

import sys
import time

from wetoolkit_minitown.dataset import Minitown, MinitownConfig

SPLITS = (("train", 500), ("test-rare", 300), ("test-common", 200))


def main() -> None:
    """Print windows, CPU seconds and what a thousand would take, by split; the first also pays for compiling what is not cached."""
    data = Minitown(MinitownConfig(cache="off"))
    begun = time.process_time()
    data.load(data.index("val")[0])
    rows = [("compile, first window", 1, time.process_time() - begun)]
    for split, most in SPLITS:
        begun = time.process_time()
        refs = data.index(split)[:most]
        for ref in refs:
            data.load(ref)
        rows.append((split, len(refs), time.process_time() - begun))
    for name, count, seconds in rows:
        sys.stdout.write(f"{name:24s} {count:5d} windows {seconds:7.2f} CPU s {1000 * seconds / count:8.1f} s per thousand\n")
    total, windows = sum(row[2] for row in rows), sum(row[1] for row in rows)
    sys.stdout.write(
        f"{'all':24s} {windows:5d} windows {total:7.2f} CPU s {1000 * total / windows:8.1f} s per thousand (limit 120)\n"
    )


if __name__ == "__main__":
    main()
