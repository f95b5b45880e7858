"""The server whose answers are given: one release of Meilisearch, and what it says of itself."""

from __future__ import annotations

VERSION = "1.50.0"

#: Body of GET /version. Clients read the commit as 40 hexadecimal digits, so it is that of the release.
ABOUT = {
    "commitSha": "5cb2f2e94befc717bbea60fec4a31ee64d2f60fd",
    "commitDate": "2026-07-23T14:39:41.000000000Z",
    "pkgVersion": VERSION,
}
