"""What `comfyc doctor` says of the store."""

from __future__ import annotations

from collections.abc import Iterator

from comfyc.diagnosis import FAIL, OK, WARN, Finding, disk_finding
from comfyc.wording import bytes_text, count_text
from graphs.errors import StoreError


def store_findings() -> Iterator[Finding]:
    from runtime.store import Store

    try:
        store = Store()
        entries = store.ls()
    except StoreError as error:
        yield Finding("store", "store", FAIL, str(error))
        return
    yield disk_finding(store.root)
    missing = [e for e in entries if not e.path.is_file() or e.path.stat().st_size != e.size_bytes]
    size = sum(e.size_bytes for e in entries)
    detail = f"{count_text(len(entries), 'file')}, {bytes_text(size)} of at most {bytes_text(store.max_bytes)}"
    if missing:
        yield Finding("store", "health", WARN, f"{detail}; {len(missing)} damaged", "run `comfyc cache verify`")
    else:
        yield Finding("store", "health", OK, detail)
