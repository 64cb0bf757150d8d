"""The raw record in its column: Zstandard, against a dictionary of what every Okta record has in common.

A record alone compresses badly (about 3 times): most of it is the same keys and values in every record. The
dictionary holds those, so a record of 4 KB takes some 400 bytes. The dictionary is part of the storage format: rows
name it by the id in their frame header, and a dictionary that has been used is never changed, only followed by another.
To read a column without poller: docs/raw-events.md.
"""

from __future__ import annotations

import threading
from pathlib import Path

import zstandard

DICTIONARY_FILE = Path(__file__).with_name("raw.dict")

_dictionary = zstandard.ZstdCompressionDict(DICTIONARY_FILE.read_bytes())
_local = threading.local()


def compress(record: bytes) -> bytes:
    """The bytes of one record as one Zstandard frame."""
    try:
        compressor = _local.compressor
    except AttributeError:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=3, dict_data=_dictionary, write_checksum=False)
    return bytes(compressor.compress(record))


def decompress(frame: bytes) -> bytes:
    """The bytes of the record, exactly as Okta sent them."""
    try:
        decompressor = _local.decompressor
    except AttributeError:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary)
    return bytes(decompressor.decompress(frame))
