"""What git said, as one of our errors. Git has one exit code for everything, so its words decide."""

from __future__ import annotations

import re

from tidegate.errors import NotFound, OutsideError, Rejected, Unreachable


class Corrupt(OutsideError):
    """The mirror's own files are damaged. Mirrors are caches: it is dropped and cloned again, once."""


class DiskFull(OutsideError):
    """No space where the mirrors are."""


class Failed(OutsideError):
    """Git failed for a reason we do not know. A damaged mirror has many ways to say so: it is cloned again once."""


class Moved(OutsideError):
    """A ref was not where we expected it: look again. Never leaves this package."""


_DISK = re.compile(
    r"No space left on device|Out of diskspace|[Dd]isk quota exceeded|File too large|Read-only file system"
)
_AUTH = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|Permission denied \(|returned error: 40[13]|"
    r"Host key verification failed|HTTP Basic: Access denied|[Aa]ccess denied|SSL certificate problem|"
    r"server certificate verification failed|WRITE_ACCESS_DENIED|Write access to repository not granted|"
    r"error in libcrypto|invalid format|UNPROTECTED PRIVATE KEY"
)
_MISSING = re.compile(
    r"repository '.*' not found|Repository not found|does not appear to be a git repository|"
    r"returned error: 404|not valid: is this a git repository|project you were looking for could not be found"
)
_REDIRECT = re.compile(r"returned error: 30[1278]|unable to update url base from redirection")
_REFUSED_OBJECT = re.compile(r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref")
_LOCKED = re.compile(r"cannot lock ref|Unable to create '.*\.lock'|Another git process seems to be running")
_CORRUPT = re.compile(
    r"is corrupt|bad object|does not point to a valid object|inflate: data stream error|"
    r"packfile .* (?:is|cannot)|"
    r"file .*\.(?:pack|idx) (?:is|far)|is far too short|is empty|not a git repository|unable to unpack|"
    r"bad signature|failed to read object|unable to read (?:tree|sha1)|missing (?:tree|commit) object|"
    r"index file .* is too small|Could not read [0-9a-f]{40}|did not send all necessary objects|"
    r"could not fetch [0-9a-f]{40} from promisor|non-monotonic index|wrong index v|hash mismatch|"
    r"bad config (?:line|file)|invalid sha1 pointer|bad tree object|unable to parse commit|broken ref|"
    r"unresolved deltas|garbage at end of (?:loose )?object|not a valid object name|"
    r"unexpected line in .*packed-refs|reference broken|not a tree object|Not a valid object"
)
_REFUSED = re.compile(
    r"returned error: 4\d\d|remote error:|remote: fatal:|protocol '.*' is not supported|not allowed"
)
_AWAY = re.compile(
    r"Could not resolve host|Failed to connect|Couldn't connect|"
    r"Connection (?:refused|timed out|reset|closed)|"
    r"Operation (?:timed out|too slow)|Empty reply|Recv failure|Send failure|early EOF|hung up unexpectedly|"
    r"unexpected disconnect|RPC failed|returned error: (?:408|429|5\d\d)|Network is unreachable|"
    r"No route to host|"
    r"kex_exchange_identification|Temporary failure in name resolution|Name or service not known|"
    r"handshake|transfer closed|Could not read from remote repository|bad band|expected flush after"
)


def failure(subject: str, words: str) -> OutsideError:
    """The error for a git command that failed. `subject` names the repository; `words` is its scrubbed
    stderr.
    """
    said = short(words)
    if _DISK.search(words):
        return DiskFull(f"{subject}: disk full or not writable ({said}); free space under TIDEGATE_HOME")
    if _MISSING.search(words):
        return NotFound(
            f"{subject}: no such repository, or no right to see it ({said}); check the URL and token"
        )
    if _AUTH.search(words):
        return Rejected(
            f"{subject}: access refused ({said}); check TIDEGATE_GIT_TOKEN, or TIDEGATE_GIT_SSH_KEY and"
            " TIDEGATE_GIT_KNOWN_HOSTS"
        )
    if _REDIRECT.search(words):
        return Rejected(f"{subject}: the server redirects, which is not followed; write the final URL")
    if _CORRUPT.search(words):
        return Corrupt(f"{subject}: mirror is damaged ({said})")
    if _LOCKED.search(words):
        return Moved(f"{subject}: a ref is locked or has moved ({said})")
    if _REFUSED_OBJECT.search(words):
        return NotFound(f"{subject}: the server does not have it any more ({said})")
    if _AWAY.search(words):
        return Unreachable(f"{subject}: unreachable ({said}); check network and server")
    if _REFUSED.search(words):
        return Rejected(f"{subject}: the server refused ({said}); check the URL and what this account may do")
    if "unable to access" in words:
        return Unreachable(f"{subject}: unreachable ({said}); check network and server")
    return Failed(f"{subject}: git failed ({said or 'no message'})")


def short(words: str) -> str:
    """Git's words on one line: what is marked as an error first, hints and progress left out, bounded."""
    lines = [line.strip() for line in words.splitlines()]
    lines = [
        line for line in lines if line and not line.startswith(("hint:", "To ", "warning:", "Cloning into"))
    ]
    marked = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!", "ssh:"))]
    text = "; ".join(dict.fromkeys(marked or lines))
    return text if len(text) <= 400 else text[:397] + "..."
