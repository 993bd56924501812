"""
The daily job: what the cron of LiteLLM's hosted server does.

Periods end by themselves, so nobody waits for it. It writes down when each user's period began, as the cron writes
`last_updated_at`, and forgets how much was merged of readings that no client sends any more. The first server of a
store that claims a day does it, and only that one.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime

from ....ledger import Millis
from ...projects import Project, Projects
from .endpoints import READINGS

EVERY_S = 600.0
"""How often a server looks whether the day's work is done."""
CLAIM_MS: Millis = 30 * 60_000
"""How long others wait for a server that is at the day's work, and did not say that it is done."""
KEEP_READINGS_MS: Millis = 180 * 86_400_000

_CLAIM = "jobs/daily"

log = logging.getLogger("budgetguard.server")


def run_daily(projects: Projects) -> bool:
    """
    Do the day's work unless a server did it or is at it; whether it was this one.

    What fails in one project is logged, leaves the others alone, and is done again once the claim is over.
    """
    own = projects.own
    now_ms = own.now_ms()
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    before = own.terms(_CLAIM)
    if before is not None and before.body is not None:
        day, _, until_ms = before.body.partition(" until ")
        if day == today and (not until_ms or now_ms < int(until_ms)):
            return False
    version = 0 if before is None else before.version
    claim = own.put_terms(_CLAIM, f"{today} until {now_ms + CLAIM_MS}", expected=version)
    if claim is None:
        return False
    failed = [name for name in list(projects.names()) if not _run(projects, name)]
    if not failed:
        own.put_terms(_CLAIM, today, expected=claim.version)
    return True


def _run(projects: Projects, name: str) -> bool:
    """Do one project's work; whether all went well."""
    try:
        with projects.at_work(name) as project:
            renewed, forgotten = renew(project), forget(project)
    except Exception:
        log.exception("daily job", extra={"project": name})
        return False
    log.info("daily job", extra={"project": name, "renewed": renewed, "forgotten": forgotten})
    return True


def renew(project: Project) -> int:
    """Write down for each user when their period began; how many periods had."""
    now, renewed = project.store.now_ms(), 0
    for own in list(project.users.all()):
        start_ms = own.rule.window(now).start_ms
        if own.rule.period.rolling_ms is None and start_ms is not None and start_ms / 1000 > own.updated_s:
            begun = project.users.replace(replace(own, updated_s=start_ms / 1000))
            renewed += begun is not None  # else somebody changed it in this moment, and wrote a later time
    return renewed


def forget(project: Project) -> int:
    """Remove what was merged of readings that nobody sent for half a year; how many."""
    before, forgotten = project.store.now_ms() - KEEP_READINGS_MS, 0
    for terms in list(project.store.all_terms(READINGS)):
        merged = json.loads(terms.body or "{}")
        if all(said["turned_ms"] < before for said in merged.values()):
            project.store.put_terms(terms.key, None, expected=terms.version)
            forgotten += 1
    return forgotten
