"""Train poller/raw.dict, the dictionary that raw records are compressed with.

    python -m benchmarks.train_dictionary

Samples are events of simulated companies, Identity Engine and Classic, and of attacks on them: each type of event up to
a quota, so that the many app openings don't crowd out the rest. Most are written with nulls, as Okta does. Prints how
well it compresses the events of another company.

A dictionary that has been used is part of the stored data: see poller/raw.py before replacing it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import msgspec
import zstandard

from poller.demo.attacks import push_fatigue, push_fatigue_classic
from poller.demo.company import DAY, Company, merged
from poller.demo.okta_events import Event, Ids, as_written
from poller.demo.sign_ins import ClassicSignIn, IdentityEngineSignIn
from poller.raw import DICTIONARY_FILE

SIZE = 32_768
QUOTA = 60  # events of a type, of one company
START = 1_795_392_000_000  # a Monday
TRAINING_SEEDS = range(100, 110)
CHECK_SEED = 1


def story(seed: int) -> Iterator[Event]:
    """Two days of an Identity Engine company, then two of a Classic one, each with an attack."""
    for dialect, attack in ((IdentityEngineSignIn, push_fatigue), (ClassicSignIn, push_fatigue_classic)):
        company = Company(seed, users=120, dialect=dialect)
        victim = company.asleep(START).person
        attacked = attack(Ids(random.Random(f"{seed}/attack")), victim, START)
        yield from (event for _, event in merged(company.events(START, START + 2 * DAY), attacked))


def samples() -> Iterator[bytes]:
    for seed in TRAINING_SEEDS:
        taken: Counter[tuple[str, str]] = Counter()
        for event in story(seed):
            kind = (event["eventType"], event["outcome"]["result"])
            taken[kind] += 1
            if taken[kind] <= QUOTA:
                yield msgspec.json.encode(as_written(event) if taken[kind] % 4 else event)


def ratio(dictionary: zstandard.ZstdCompressionDict, records: list[bytes]) -> str:
    compressor = zstandard.ZstdCompressor(level=3, dict_data=dictionary, write_checksum=False)
    before = sum(map(len, records)) / len(records)
    after = sum(len(compressor.compress(record)) for record in records) / len(records)
    return f"{before:.0f} to {after:.0f} bytes, {before / after:.1f} times"


def main() -> None:
    trained = zstandard.train_dictionary(SIZE, list(samples()), k=2000, d=6, level=3)
    DICTIONARY_FILE.write_bytes(trained.as_bytes())
    served = list(story(CHECK_SEED))
    print(f"dictionary {trained.dict_id()}, {len(trained.as_bytes())} bytes")
    print("as served: ", ratio(trained, [msgspec.json.encode(event) for event in served]))
    print("with nulls:", ratio(trained, [msgspec.json.encode(as_written(event)) for event in served]))


if __name__ == "__main__":
    main()
