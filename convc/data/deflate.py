"""What tells a packed file from a bomb."""

from __future__ import annotations

MOST_PACKED = 1032
"""Bytes that deflate, the method of gzip and of most zips, packs into one at best (zlib's technical details)."""
